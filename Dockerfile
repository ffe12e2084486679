# The shop of examples/shop: one image, a service a container. Also what a service of yours looks like with obskit in it.
#   docker build -t obskit-shop .
#   docker run --rm -p 127.0.0.1:8000:8000 obskit-shop examples.shop.gateway:app

FROM python:3.13.14-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv --without-pip /venv

# First what changes rarely: the dependencies, at the versions of constraints.txt. All are wheels; nothing is compiled.
COPY pyproject.toml constraints.txt ./
RUN python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*p["dependencies"], *p["optional-dependencies"]["shop"], sep="\n")' > requirements.txt \
    && pip --python /venv/bin/python install --only-binary :all: --constraint constraints.txt --requirement requirements.txt

COPY . .
RUN pip --python /venv/bin/python install --no-deps --constraint constraints.txt .


FROM python:3.13.14-slim-trixie
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin shop
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
COPY --from=build /venv /venv
COPY examples examples
USER 10001
EXPOSE 8000
# Ready, not only alive: what compose's depends_on waits for.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --start-interval=1s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["python", "-m", "uvicorn", "--host", "0.0.0.0", "--port", "8000"]
CMD ["examples.shop.gateway:app"]
