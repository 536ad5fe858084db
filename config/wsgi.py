"""The web application, for gunicorn."""

import os
import sys

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()

from config import schema  # noqa: E402  its guards look at the models too
from core.refusals import Refused  # noqa: E402  models are ready only now

NOT_BOOTED = 3  # gunicorn stops at this one, and starts a worker that ends with any other anew, for ever

try:
    schema.check()
except Refused as refusal:
    print(refusal, file=sys.stderr, flush=True)
    sys.exit(NOT_BOOTED)
