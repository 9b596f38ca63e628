# `lae-tf serve` in a container: TensorFlow Serving's REST API for the exports in /exports.
#
#   docker build -t lae-tf .
#   docker run --rm --read-only --tmpfs /tmp -p 127.0.0.1:8501:8501 -v "$PWD/exports:/exports:ro" lae-tf
#
# It was never built or run with Docker; its steps are those of docs/guides/installation.md, and tests/test_dockerfile.py
# holds what can be held without Docker.
FROM python:3.12-slim

WORKDIR /opt/lae_tf
COPY . .
RUN pip install --no-cache-dir '.[serve]'

# Nothing is written, and nobody signs in.
USER 65534:65534
WORKDIR /tmp
EXPOSE 8501

# Status 200 alone says nothing: a version that failed to load answers it too.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request; assert b'\"AVAILABLE\"' in urllib.request.urlopen('http://127.0.0.1:8501/v1/models/lae', timeout=4).read()"]

# Inside a container loopback is nobody's but its own: who reaches the port is what -p says.
ENTRYPOINT ["lae-tf", "serve", "--host", "0.0.0.0", "--rest-api-port", "8501"]
CMD ["/exports"]
