# pip installs a local wheel into a virtual environment; what it installed runs.
set -eu
environment/bin/python -m pip --disable-pip-version-check --no-color install --no-index \
    --no-cache-dir ./sample-1.0-py3-none-any.whl
environment/bin/sample
environment/bin/python -m pip --disable-pip-version-check list --format=freeze | grep sample
