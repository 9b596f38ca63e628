"""A client for TensorFlow Serving's gRPC port; the extra ``grpc`` brings its messages, and they need TensorFlow."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lae_tf.errors import MissingExtraError
from lae_tf.serving.client.results import R, Score, ServerError, read_predictions
from lae_tf.serving.client.scoring import Scoring
from lae_tf.serving.client.uploads import Named, faces_of
from lae_tf.serving.errors import Code
from lae_tf.video.face_places import FACES

try:
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc
except ImportError:
    raise MissingExtraError("lae_tf.serving.client.grpc_client", "grpc") from None

_BUSY = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0
_LARGEST_ANSWER = 256 * 2**20


class GrpcClient(Scoring):
    """Scores images over gRPC with the results of ``client.Client``; use it in a ``with`` statement.

    Args:
        address: host and port, for example ``127.0.0.1:8500``.
        model: the model's name there.
        version: a version of it; None takes the newest.
        credentials: of a channel with TLS (``grpc.ssl_channel_credentials()``); None takes one without.
        timeout_seconds: for each request.
        batch_size: images in one request.
        retries: how often a request is repeated that met a busy server (RESOURCE_EXHAUSTED, UNAVAILABLE).
    """

    def __init__(  # noqa: PLR0913 - all but the first have defaults
        self,
        address: str,
        model: str = "lae",
        *,
        version: int | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        timeout_seconds: float = 60.0,
        batch_size: int = 16,
        retries: int = 5,
    ):
        self._address = address
        self._model = model
        self._version = version
        self._credentials = credentials
        self._timeout = timeout_seconds
        self._batch_size = batch_size
        self._retries = retries
        self._with_faces: bool | None = None  # not known before the server was asked

    def __enter__(self) -> GrpcClient:
        options = [("grpc.max_receive_message_length", _LARGEST_ANSWER)]
        if self._credentials:
            self._channel = grpc.secure_channel(self._address, self._credentials, options)
        else:
            self._channel = grpc.insecure_channel(self._address, options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def _ask(self, images: list[Named], kind: type[R]) -> list[R]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._model
        request.model_spec.signature_name = kind.signature
        if self._version is not None:
            request.model_spec.version.value = self._version
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([image.data for image in images], tf.string))
        if (faces := faces_of(images)) is not None:
            request.inputs[FACES].CopyFrom(tf.make_tensor_proto(faces))
        answer = self._send(self._stub.Predict, request)
        try:
            outputs = {key: tf.make_ndarray(value) for key, value in answer.outputs.items()}
            columns = {key: value.reshape(len(images), -1)[:, 0].tolist() for key, value in outputs.items()}
        except (ValueError, TypeError, IndexError):
            raise ServerError(
                f"{self._address} did not answer for {len(images)} images; is it another model?"
            ) from None
        predictions = [{key: column[row] for key, column in columns.items()} for row in range(len(images))]
        return read_predictions(predictions, [image.name for image in images], kind)

    def _takes_faces(self) -> bool:
        if self._with_faces is None:
            request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
            request.model_spec.name = self._model
            if self._version is not None:
                request.model_spec.version.value = self._version
            signatures = get_model_metadata_pb2.SignatureDefMap()
            try:
                answer = self._send(self._stub.GetModelMetadata, request)
            except ServerError:  # the request for scores will say why
                return False
            answer.metadata["signature_def"].Unpack(signatures)
            self._with_faces = FACES in signatures.signature_def[Score.signature].inputs
        return self._with_faces

    def _send(self, call: Callable[..., Any], request: Any) -> Any:
        attempt = 0
        while True:
            try:
                return call(request, timeout=self._timeout)
            except grpc.RpcError as error:
                code = error.code()
                if code not in _BUSY or attempt >= self._retries:
                    status = Code[code.name].http_status
                    message = f"{self._address} answered {code.name}: {error.details()}"
                    raise ServerError(message, status) from None
            time.sleep(min(_LONGEST_DELAY, _FIRST_DELAY * 2**attempt))
            attempt += 1
