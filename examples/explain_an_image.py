"""Writes where a model saw a forgery: the attention laid over the image, in its own size.

Usage: python examples/explain_an_image.py RUN IMAGE OUTPUT.png
"""

import sys

import lae_tf
from lae_tf.images.files import write_png
from lae_tf.predict.evidence import overlay_on_file
from lae_tf.predict.images import predict_files


def main(run: str, image: str, output: str) -> None:
    model = lae_tf.Run.open(run).load_model()
    (prediction,) = predict_files(model, [image])
    if prediction.error:
        sys.exit(prediction.error)
    print(f"{prediction.score:.4f} {prediction.label} {image}")
    write_png(output, overlay_on_file(image, prediction.attention))


if __name__ == "__main__":
    main(*sys.argv[1:])
