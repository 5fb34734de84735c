"""The WSGI entry point."""

import importlib
import os
import threading

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "costobs.settings")
application = get_wsgi_application()
# It takes seconds to import and forecasts need it: the first page that shows one should not wait for it.
threading.Thread(
    target=importlib.import_module, args=("statsmodels.tsa.exponential_smoothing.ets",), daemon=True
).start()
