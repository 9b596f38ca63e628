"""Data sets as they are published, recorded or forged, made into manifests."""
