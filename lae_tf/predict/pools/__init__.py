"""Batch prediction over pools that fit neither memory nor, if need be, one machine."""
