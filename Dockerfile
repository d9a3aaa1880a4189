# One file, two images: `docker build .` makes the CPU image, `docker build --target gpu .` the CUDA one. Neither holds PyTorch.

FROM python:3.12-slim AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PATH=/opt/venv/bin:$PATH \
    AMCL_HOST=0.0.0.0 \
    AMCL_PORT=8000 \
    AMCL_DATA_DIR=/data
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin amcl \
 && install -d -o amcl -g amcl /data
WORKDIR /home/amcl
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"AMCL_PORT\"]}/readyz', timeout=2)"]
STOPSIGNAL SIGTERM
CMD ["python", "-m", "app"]

FROM python:3.12-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
WORKDIR /src

FROM build AS build-cpu
COPY requirements/serve.txt requirements/
RUN /opt/venv/bin/pip install -q -r requirements/serve.txt
COPY . .
RUN /opt/venv/bin/pip install -q --no-deps .

FROM build AS build-gpu
COPY requirements/gpu.txt requirements/
RUN /opt/venv/bin/pip install -q -r requirements/gpu.txt
COPY . .
RUN /opt/venv/bin/pip install -q --no-deps .

FROM base AS gpu
ENV AMCL_PROVIDER=cuda
COPY --from=build-gpu /opt/venv /opt/venv
USER amcl

FROM base AS cpu
COPY --from=build-cpu /opt/venv /opt/venv
USER amcl
