# One image for every process of the platform, from the lock file.
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 DO_NOT_TRACK=1 UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
RUN useradd --create-home --uid 10001 c360
WORKDIR /opt/customer360
RUN pip install --no-cache-dir uv==0.13.9 && chown c360:c360 /opt/customer360
USER c360

# The dependencies change less often than the code: their layer is built first and cached.
COPY --chown=c360:c360 pyproject.toml uv.lock ./
RUN uv sync --locked --no-default-groups --no-install-project --no-cache
COPY --chown=c360:c360 README.md LICENSE Makefile ./
COPY --chown=c360:c360 plugins plugins
COPY --chown=c360:c360 expectations expectations
COPY --chown=c360:c360 dags dags
COPY --chown=c360:c360 dbt_project dbt_project
COPY --chown=c360:c360 sources sources
COPY --chown=c360:c360 docs docs
RUN uv sync --locked --no-default-groups --no-cache && mkdir -p /opt/customer360/.c360

ENV PATH=/opt/customer360/.venv/bin:$PATH C360_HOME=/opt/customer360/.c360
ENTRYPOINT ["c360"]
CMD ["--help"]
