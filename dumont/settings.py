"""The one settings module. Everything that differs between installations comes from the environment."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import django_stubs_ext
from redis.backoff import NoBackoff
from redis.retry import Retry

from dumont import env
from hibernation.providers.accounts import redis_address

# Lets generic Django classes be written with their parameter, as the type checker wants them.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent

# -- what every installation sets ----------------------------------------------------------------
DUMONT_STATE = env.folder("DUMONT_STATE", BASE_DIR / ".dumont")
SECRET_KEY = env.secret("DUMONT_SECRET_KEY")
# Wraps the workspaces' data keys: without it no snapshot can be read. The first wraps, the others only unwrap.
DUMONT_ENCRYPTION_KEYS = env.keys("DUMONT_ENCRYPTION_KEYS")
DEBUG = env.flag("DUMONT_DEBUG", False)
ALLOWED_HOSTS = env.words("DUMONT_ALLOWED_HOSTS", "127.0.0.1,localhost")
DUMONT_BASE_URL = env.text("DUMONT_BASE_URL", "http://127.0.0.1:5000").rstrip("/")
CSRF_TRUSTED_ORIGINS = [DUMONT_BASE_URL]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": env.text("DUMONT_DB_HOST", "127.0.0.1"),
        "PORT": env.text("DUMONT_DB_PORT", "5432"),
        "NAME": env.text("DUMONT_DB_NAME", "dumont"),
        "USER": env.text("DUMONT_DB_USER", "dumont"),
        "PASSWORD": env.secret("DUMONT_DB_PASSWORD", ""),
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": 5, "application_name": "dumont"},
    }
}

# Celery's, and where the rate limits of providers and of the API are kept.
DUMONT_BROKER_URL = env.address("DUMONT_BROKER_URL", "redis://127.0.0.1:6379/0")

# -- the product's own knobs ---------------------------------------------------------------------
DUMONT_INSTALLATION = hashlib.sha256(f"installation:{SECRET_KEY}".encode()).hexdigest()[:8]
DUMONT_LABEL_PREFIX = f"dumont-{DUMONT_INSTALLATION}-"
DUMONT_PROVIDERS = env.words("DUMONT_PROVIDERS", "local")
# Keys may also be entered in the console; what stands here goes first.
DUMONT_VAST_API_KEY = env.secret("DUMONT_VAST_API_KEY", "")
DUMONT_VAST_URL = env.text("DUMONT_VAST_URL", "https://console.vast.ai").rstrip("/")
# Seconds here for one of the provider's: below 1 where a fake one lives faster.
DUMONT_VAST_TIME_SCALE = env.number("DUMONT_VAST_TIME_SCALE", 1, least=0.001)
DUMONT_RUNPOD_API_KEY = env.secret("DUMONT_RUNPOD_API_KEY", "")
DUMONT_RUNPOD_URL = env.text("DUMONT_RUNPOD_URL", "https://api.runpod.io/v2").rstrip("/")
DUMONT_LOCAL_PROVIDER_ROOT = env.folder("DUMONT_LOCAL_PROVIDER_ROOT", DUMONT_STATE)
DUMONT_SSH_KEY_FILE = env.folder("DUMONT_SSH_KEY_FILE", DUMONT_STATE / "ssh" / "id_ed25519")
DUMONT_STORE = env.choice("DUMONT_STORE", "filesystem", ("filesystem", "s3"))
DUMONT_STORE_ROOT = env.folder("DUMONT_STORE_ROOT", DUMONT_STATE / "store")
DUMONT_STORE_SECRET = hashlib.sha256(f"store:{SECRET_KEY}".encode()).digest()
DUMONT_STORE_URL_TTL = timedelta(seconds=env.number("DUMONT_STORE_URL_SECONDS", 3600, least=10))
DUMONT_VERIFY = env.choice("DUMONT_VERIFY", "sampled", ("sampled", "full"))
# Of the S3 store, what has no default must be set, but only where it is used.
_unset = None if DUMONT_STORE == "s3" else ""
DUMONT_S3_BUCKET = env.text("DUMONT_S3_BUCKET", _unset)
DUMONT_S3_ENDPOINT = env.text("DUMONT_S3_ENDPOINT", "")
DUMONT_S3_REGION = env.text("DUMONT_S3_REGION", "auto" if DUMONT_S3_ENDPOINT else _unset)
DUMONT_S3_ACCESS_KEY_ID = env.secret("DUMONT_S3_ACCESS_KEY_ID", _unset)
DUMONT_S3_SECRET_ACCESS_KEY = env.secret("DUMONT_S3_SECRET_ACCESS_KEY", _unset)
DUMONT_S3_PREFIX = env.text("DUMONT_S3_PREFIX", "")
DUMONT_S3_PATH_STYLE = env.flag("DUMONT_S3_PATH_STYLE", bool(DUMONT_S3_ENDPOINT))
DUMONT_S3_CHECKSUM = env.choice("DUMONT_S3_CHECKSUM", "crc32", ("crc32", "none"))
DUMONT_S3_WRITE_ONCE = env.flag("DUMONT_S3_WRITE_ONCE", True)
# A machine goes on from what it stored up to a day ago for a snapshot that broke off.
DUMONT_GC_GRACE = timedelta(seconds=env.number("DUMONT_GC_GRACE_SECONDS", 172_800, least=90_000))
DUMONT_COLLECT_INTERVAL = timedelta(seconds=env.number("DUMONT_COLLECT_SECONDS", 3600, least=60))
DUMONT_HEARTBEAT_INTERVAL = timedelta(seconds=env.number("DUMONT_HEARTBEAT_SECONDS", 30, least=0.5))
DUMONT_SWEEP_INTERVAL = timedelta(seconds=env.number("DUMONT_SWEEP_SECONDS", 10, least=0.5))
DUMONT_RECONCILE_INTERVAL = timedelta(seconds=env.number("DUMONT_RECONCILE_SECONDS", 30, least=0.5))
DUMONT_DRIVE_INTERVAL = timedelta(seconds=env.number("DUMONT_DRIVE_SECONDS", 5, least=0.5))
# Schedules: how often what is due is looked for, how late each leg is still acted on, and how many entries of beat may
# be enabled; more cost beat seconds, and the tick alone does it all.
DUMONT_SCHEDULE_INTERVAL = timedelta(seconds=env.number("DUMONT_SCHEDULE_SECONDS", 10, least=1))
DUMONT_WAKE_GRACE = timedelta(minutes=env.number("DUMONT_WAKE_GRACE_MINUTES", 30, least=1))
DUMONT_SLEEP_GRACE = timedelta(minutes=env.number("DUMONT_SLEEP_GRACE_MINUTES", 60, least=1))
DUMONT_BEAT_ENTRIES_MOST = int(env.number("DUMONT_BEAT_ENTRIES_MOST", 500, least=0))
# For trying out: REAL/SHOWN/SPEED, a clock for schedules alone that shows another time and runs faster.
DUMONT_SCHEDULE_CLOCK = env.clock("DUMONT_SCHEDULE_CLOCK")
# Without contact for so long, an idle machine stops itself; 0: never.
DUMONT_GUARD_AFTER = timedelta(hours=env.number("DUMONT_GUARD_HOURS", 6, least=0))
DUMONT_LEASE = timedelta(seconds=env.number("DUMONT_LEASE_SECONDS", 15, least=1))
# How long a machine on its way up may take for each stage; see docs/operations.md.
DUMONT_CREATED_DEADLINE = timedelta(seconds=env.number("DUMONT_CREATED_SECONDS", 120, least=1))
DUMONT_LOADING_DEADLINE = timedelta(seconds=env.number("DUMONT_LOADING_SECONDS", 600, least=1))
DUMONT_LOADING_MOST = timedelta(seconds=env.number("DUMONT_LOADING_MOST_SECONDS", 2400, least=1))
DUMONT_RUNNING_DEADLINE = timedelta(seconds=env.number("DUMONT_RUNNING_SECONDS", 300, least=1))
DUMONT_SILENCE_DEADLINE = timedelta(seconds=env.number("DUMONT_SILENCE_SECONDS", 60, least=1))
DUMONT_REACH_DEADLINE = timedelta(seconds=env.number("DUMONT_REACH_SECONDS", 240, least=1))
DUMONT_INSTALL_DEADLINE = timedelta(seconds=env.number("DUMONT_INSTALL_SECONDS", 300, least=1))
DUMONT_TEST_DEADLINE = timedelta(seconds=env.number("DUMONT_TEST_SECONDS", 180, least=1))
DUMONT_THAW_DEADLINE = timedelta(seconds=env.number("DUMONT_THAW_SILENT_SECONDS", 600, least=1))
# A machine that does not answer by then gets another beside it, which may cost so much until it answers; 0 USD: never.
DUMONT_HEDGE_AFTER = timedelta(seconds=env.number("DUMONT_HEDGE_SECONDS", 90, least=1))
DUMONT_HEDGE_MOST_USD = Decimal(str(env.number("DUMONT_HEDGE_MOST_USD", 0.25)))
DUMONT_LIST_SHARED = timedelta(seconds=env.number("DUMONT_LIST_SHARED_SECONDS", 5, least=0))
DUMONT_PARK_DEADLINE = timedelta(seconds=env.number("DUMONT_PARK_SECONDS", 180, least=1))
DUMONT_RESUME_DEADLINE = timedelta(seconds=env.number("DUMONT_RESUME_SECONDS", 180, least=1))
DUMONT_LABEL_SETTLE = timedelta(seconds=env.number("DUMONT_LABEL_SETTLE_SECONDS", 30, least=1))

# Requests a minute of one token or user, of one address without a valid one, and tries to log in to the console from
# one address; 0: any number. How many proxies of ours stand before us: what is farther away is whoever asks.
DUMONT_REQUESTS_PER_MINUTE = int(env.number("DUMONT_REQUESTS_PER_MINUTE", 1200))
DUMONT_STRANGERS_PER_MINUTE = int(env.number("DUMONT_STRANGERS_PER_MINUTE", 60))
DUMONT_LOGINS_PER_MINUTE = int(env.number("DUMONT_LOGINS_PER_MINUTE", 10))
DUMONT_PROXIES = int(env.number("DUMONT_PROXIES", 0))

# -- Django --------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django_celery_beat",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "hibernation",
]
MIDDLEWARE = [
    "hibernation.web.requests.RequestMiddleware",
    "hibernation.web.headers.HeadersMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "hibernation.api.bodies.BodyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    # Whoever looks again and again is sent only what is new.
    "django.middleware.http.ConditionalGetMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "dumont.urls"
WSGI_APPLICATION = "dumont.wsgi.application"
APPEND_SLASH = False
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = env.text("DUMONT_TIME_ZONE", "UTC")
# Of whoever asks for none; the record and the log are English in any case.
LANGUAGE_CODE = env.choice("DUMONT_LANGUAGE", "en", ("en", "pt-br"))
LANGUAGES = [("en", "English"), ("pt-br", "Português (Brasil)")]
STATIC_URL = "/static/"
STATIC_ROOT = DUMONT_STATE / "static"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": redis_address(DUMONT_BROKER_URL),
        "KEY_PREFIX": f"dumont:{DUMONT_INSTALLATION}",
        # What is kept there can be done without: nobody waits for it.
        "OPTIONS": {"socket_timeout": 0.3, "socket_connect_timeout": 0.3, "retry": Retry(NoBackoff(), 0)},
    }
}
# Packs are streamed to the store; everything else people and agents send is small.
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024

SECURE_SSL = env.flag("DUMONT_HTTPS", DUMONT_BASE_URL.startswith("https://"))
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL
# The pages carry the CSRF token themselves; no script needs a cookie.
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_SSL_REDIRECT = SECURE_SSL
SECURE_HSTS_SECONDS = 31_536_000 if SECURE_SSL else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE_SSL
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Anybody can send what a proxy sends: without one of ours it counts for nothing.
if DUMONT_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "hibernation.api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["hibernation.api.permissions.Access"],
    "DEFAULT_THROTTLE_CLASSES": ["hibernation.api.throttles.PerCaller"],
    "NUM_PROXIES": DUMONT_PROXIES,
    "EXCEPTION_HANDLER": "hibernation.api.errors.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "hibernation.api.describing.Described",
    # The first is for whoever does not say: programs get JSON, and browsers ask for pages.
    "DEFAULT_RENDERER_CLASSES": [
        "rest_framework.renderers.JSONRenderer",
        "hibernation.api.pages.PageRenderer",
    ],
    "DEFAULT_PARSER_CLASSES": ["hibernation.api.parsers.StrictJSONParser"],
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Dumont",
    "DESCRIPTION": "Hibernates idle rented GPU machines and wakes their workspaces elsewhere, byte for byte.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SCHEMA_PATH_PREFIX": "/api",
    # What is sent and what is told differ: some is never shown, and some cannot be set.
    "COMPONENT_SPLIT_REQUEST": True,
    "SERVE_INCLUDE_SCHEMA": False,
    "ENUM_NAME_OVERRIDES": {
        "SnapshotStateEnum": "hibernation.models.snapshot.STATES",
        "ScopeEnum": "hibernation.domain.access.SCOPES",
        "RoleEnum": "hibernation.domain.access.ROLES",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "hibernation.api.describing.add_refusals",
        "hibernation.api.agent_routes.add_agent_routes",
    ],
    # From our own static files; nothing is asked of anybody else.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "validatorUrl": None},
}

# What these tell at their lower levels is keys, signatures and every byte of a conversation.
_TALKATIVE = (
    "boto3",
    "botocore",
    "fabric",
    "httpcore",
    "httpx",
    "invoke",
    "paramiko",
    "s3transfer",
    "urllib3",
)
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
DUMONT_LOG_FORMAT = env.choice("DUMONT_LOG_FORMAT", "line", ("line", "json"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "hibernation.logs.lines.Lines"},
        "json": {"()": "hibernation.logs.lines.JsonLines"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": DUMONT_LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": env.choice("DUMONT_LOG_LEVEL", "INFO", _LEVELS)},
    "loggers": {
        # Else Django sends its own lines past the handler above.
        "django": {"handlers": [], "propagate": True},
        "django.server": {"handlers": [], "propagate": True},
        **{name: {"level": "WARNING"} for name in _TALKATIVE},
    },
}
# What was read from files, for «manage.py check» to look at who else can read them.
DUMONT_SECRET_FILES = dict(env.secret_files)
