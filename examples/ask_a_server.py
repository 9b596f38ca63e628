"""Asks a running server, `lae-tf serve` or TensorFlow Serving, about images. Needs the extra serve, and no TensorFlow.

Usage: python examples/ask_a_server.py URL IMAGE ...
"""

import sys

from lae_tf.serving.client.rest_client import Client


def main(url: str, *images: str) -> None:
    with Client(url) as client:
        for answer in client.predict_files(images):
            print(answer.error or f"{answer.score:.4f} {answer.label} {answer.path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
