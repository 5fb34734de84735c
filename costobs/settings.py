"""Settings: every value is read once from the environment, with a default that suits one machine."""

import os
from decimal import Decimal
from pathlib import Path

import dj_database_url
from django.utils.csp import CSP

from costobs.embedded import keys, paths

# Forecasts fit small models: more threads of the linear algebra would only wait for each other. Read when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

BASE_DIR = Path(__file__).resolve().parent.parent


def _list(name: str, default: str) -> list[str]:
    return [item.strip() for item in os.environ.get(name, default).split(",") if item.strip()]


def _flag(name: str, default: bool = False) -> bool:
    return os.environ.get(name, "1" if default else "0").strip().lower() in {"1", "true", "yes", "on"}


# --- who may reach it ---------------------------------------------------------------------------------
SECRET_KEY = keys.secret_key()
COSTOBS_FERNET_KEY = keys.fernet_key()
DEBUG = _flag("COSTOBS_DEBUG")
ALLOWED_HOSTS = _list("COSTOBS_HOSTS", "localhost,127.0.0.1,[::1],testserver,web")
CSRF_TRUSTED_ORIGINS = _list("COSTOBS_ORIGINS", "")
COSTOBS_PORT = int(os.environ.get("COSTOBS_PORT", "8080"))
COSTOBS_URL = os.environ.get("COSTOBS_URL", f"http://127.0.0.1:{COSTOBS_PORT}").rstrip("/")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = COSTOBS_URL.startswith("https://")
SESSION_COOKIE_HTTPONLY = True
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SECURE_CSP = {
    "default-src": ["'none'"],
    "script-src": [CSP.SELF, CSP.NONCE],
    "style-src": ["'self'"],
    # Plotly sets style attributes on its SVG; no style element and no eval is allowed.
    "style-src-attr": ["'unsafe-inline'"],
    "img-src": ["'self'", "data:", "blob:"],
    "font-src": ["'self'"],
    "connect-src": ["'self'"],
    "form-action": ["'self'"],
    "frame-ancestors": ["'none'"],
    "base-uri": ["'none'"],
}

# --- what it is made of -------------------------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.humanize",
    "django.contrib.staticfiles",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "costobs.audit",
    "costobs.access",
    "costobs.console",
    "costobs.web",
    "ingest",
    "attribution",
    "alerts",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
ROOT_URLCONF = "costobs.urls"
WSGI_APPLICATION = "costobs.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.csp",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "costobs.web.shell.context",
            ],
        },
    },
]
AUTHENTICATION_BACKENDS = ["sesame.backends.ModelBackend", "django.contrib.auth.backends.ModelBackend"]
SESAME_ONE_TIME = True
SESAME_MAX_AGE = 60 * 60
LOGIN_URL = "sign_in"
LOGIN_REDIRECT_URL = "overview"
LOGOUT_REDIRECT_URL = "sign_in"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# --- where it keeps things ----------------------------------------------------------------------------
DATABASES = {
    "default": {
        **dj_database_url.parse(paths.database_url(), conn_max_age=60, conn_health_checks=True),
        "ATOMIC_REQUESTS": False,
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# The only directory of this machine that a source set up in the browser may read.
COSTOBS_FILES = Path(os.environ.get("COSTOBS_FILES", "").strip() or paths.data_dir() / "files").expanduser().resolve()
COSTOBS_INBOX_BYTES = int(os.environ.get("COSTOBS_INBOX_BYTES", str(64 * 1024 * 1024)))
# A day or an hour of a scope that costs less is no anomaly; below this impact nobody is told of one.
COSTOBS_ANOMALY_DAY_COST = Decimal(os.environ.get("COSTOBS_ANOMALY_DAY_COST", "20"))
COSTOBS_ANOMALY_HOUR_COST = Decimal(os.environ.get("COSTOBS_ANOMALY_HOUR_COST", "5"))
COSTOBS_ANOMALY_IMPACT_COST = Decimal(os.environ.get("COSTOBS_ANOMALY_IMPACT_COST", "50"))
COSTOBS_KEEP_SAMPLES_DAYS = int(os.environ.get("COSTOBS_KEEP_SAMPLES_DAYS", "14"))

# --- how it looks -------------------------------------------------------------------------------------
LANGUAGE_CODE = "en-gb"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = paths.data_dir() / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": os.environ.get("COSTOBS_STATIC_STORAGE", "django.contrib.staticfiles.storage.StaticFilesStorage")
    },
}
WHITENOISE_USE_FINDERS = True
COSTOBS_CURRENCY = os.environ.get("COSTOBS_CURRENCY", "USD")
# Of a month that closes, at most so many percent of the spend may have no owner.
COSTOBS_CLOSE_UNALLOCATED_PERCENT = os.environ.get("COSTOBS_CLOSE_UNALLOCATED_PERCENT", "5")
# A change of prices that moves more needs a second person: an amount in COSTOBS_CURRENCY, a share of the month's spend.
COSTOBS_PRICE_APPROVAL_COST = Decimal(os.environ.get("COSTOBS_PRICE_APPROVAL_COST", "1000"))
COSTOBS_PRICE_APPROVAL_SHARE = Decimal(os.environ.get("COSTOBS_PRICE_APPROVAL_SHARE", "0.05"))
# An action scales a resource only for a budget whose calls were at least so many percent of its tokens in the last 7 days.
COSTOBS_OWNED_PERCENT = os.environ.get("COSTOBS_OWNED_PERCENT", "90")

# --- work ---------------------------------------------------------------------------------------------
CELERY_BROKER_URL = paths.broker_url()
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_TIME_LIMIT = 90
CELERY_TASK_SOFT_TIME_LIMIT = 60
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 300}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE = {
    "tick": {"task": "costobs.pipeline.tick", "schedule": 1.0, "options": {"expires": 2}},
    "carry": {"task": "costobs.pipeline.carry", "schedule": 3.0, "options": {"expires": 6}},
    "tell": {"task": "costobs.pipeline.tell", "schedule": 2.0, "options": {"expires": 4}},
    "check_books": {"task": "costobs.pipeline.check_books", "schedule": 60.0, "options": {"expires": 55}},
    "reconcile": {"task": "costobs.pipeline.reconcile", "schedule": 60.0, "options": {"expires": 55}},
    "forecast": {"task": "costobs.pipeline.forecast", "schedule": 60.0, "options": {"expires": 55}},
    "review": {"task": "costobs.pipeline.review", "schedule": 60.0, "options": {"expires": 55}},
    "send_statements": {"task": "costobs.pipeline.send_statements", "schedule": 60.0, "options": {"expires": 55}},
    "look_for_anomalies": {
        "task": "costobs.pipeline.look_for_anomalies",
        "schedule": 120.0,
        "options": {"expires": 110},
    },
    "sync": {"task": "costobs.pipeline.sync", "schedule": 60.0, "options": {"expires": 55}},
    "read_past": {"task": "costobs.pipeline.read_past", "schedule": 5.0, "options": {"expires": 5}},
    "fetch_rates": {"task": "costobs.pipeline.fetch_rates", "schedule": 3600.0, "options": {"expires": 3000}},
    "tidy": {"task": "costobs.pipeline.tidy", "schedule": 3600.0, "options": {"expires": 3000}},
}

# --- faces --------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "costobs.access.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "costobs.api.errors.problem_json",
    "COERCE_DECIMAL_TO_STRING": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "costobs",
    "DESCRIPTION": "What large language models cost, to the cent. The same numbers as the pages.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
}
EMAIL_BACKEND = os.environ.get("COSTOBS_EMAIL_BACKEND", "django.core.mail.backends.smtp.EmailBackend")
EMAIL_HOST = os.environ.get("COSTOBS_SMTP_HOST", "127.0.0.1")
EMAIL_PORT = int(os.environ.get("COSTOBS_SMTP_PORT", "1025"))
EMAIL_HOST_USER = os.environ.get("COSTOBS_SMTP_USER", "")
EMAIL_HOST_PASSWORD = os.environ.get("COSTOBS_SMTP_PASSWORD", "")
EMAIL_USE_TLS = _flag("COSTOBS_SMTP_TLS")
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = os.environ.get("COSTOBS_MAIL_FROM", "costobs@localhost")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": os.environ.get("COSTOBS_LOG_LEVEL", "WARNING")},
}
