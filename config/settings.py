"""All settings, read from the environment.

DEMARC_ENV          development (default) or production. Production names everything that is missing, at once.
SECRET_KEY          required in production
ALLOWED_HOSTS       host names, comma separated; required in production
CSRF_TRUSTED_ORIGINS  origins (https://...), comma separated; only needed where a proxy changes the host
DATABASE_URL        postgres://user:password@host:port/name; required in production, else PostgreSQL of our own
CELERY_BROKER_URL   redis:// or amqp://; without it messages travel through the database
DEMARC_QUEUE        name of the message queue, where several installations share a broker (default demarc)
DEMARC_HOME         folder of the embedded server and other local state (default .demarc)
DEMARC_TIME_ZONE, DEMARC_CURRENCY, DEMARC_NAME and the others of FIXABLE: what the organisation sets on the page Settings
                    (core.models.Settings has what each is for); one that is set here is fixed, and shown as fixed there
DEMARC_URL          address people reach Demarc under, for the links in messages; required where e-mail is sent
EMAIL_URL           smtp+tls://user:password@host:port and others of config.mailserver; without it nobody is mailed in
                    production (the inbox has everything), and messages are printed otherwise
EMAIL_FROM          the sender, `Demarc <demarc@example.com>`; required with a mail server
DEMARC_LEASE        seconds after which work whose worker was lost is taken over (default 30)
DEMARC_SWEEP        seconds between two searches for work that nobody does (default 30)
DEMARC_TRUST_PROXY  1: a proxy in front sets X-Forwarded-Proto, and strips the visitor's
DEMARC_ADDRESS_HEADER  header in which the proxy in front says who called it, such as X-Forwarded-For; without it wrong
                    passwords are counted by the address of the connection. The proxy has to strip or append to the visitor's
DEMARC_PROXIES      how many proxies append to that header (default 1)
DEMARC_API_CALLS    requests of one user to the API in a minute (default 600)
DEMARC_SSL_REDIRECT 0: the proxy in front already sends http to https (production only, default 1)
DEMARC_LOG_LEVEL    default INFO
DEBUG               1: Django's debug pages; never in production
"""

import os
import re
import zoneinfo
from pathlib import Path

import structlog
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static

from config import database, mailserver

BASE_DIR = Path(__file__).resolve().parent.parent
problems = []


def text(name, default="", *, required=False):
    value = os.environ.get(name, "").strip() or default
    if required and not value:
        problems.append(f"{name} is not set")
    return value


def flag(name, default):
    value = text(name, default)
    if value not in ("0", "1"):
        problems.append(f"{name} is {value!r}, not 0 or 1")
    return value == "1"


def number(name, default="1", least=1):
    value = text(name, default)
    if not re.fullmatch("0|[1-9][0-9]{0,5}", value) or int(value) < least:
        problems.append(f"{name} is {value!r}, not a whole number from {least}")
        return int(default)
    return int(value)


def listing(name, *, required=False):
    return [part.strip() for part in text(name, required=required).split(",") if part.strip()]


ENVIRONMENT = text("DEMARC_ENV", "development")
if ENVIRONMENT not in ("development", "production"):
    problems.append(f"DEMARC_ENV is {ENVIRONMENT!r}, not development or production")
PRODUCTION = ENVIRONMENT == "production"

DEBUG = flag("DEBUG", "0")
if DEBUG and PRODUCTION:
    problems.append("DEBUG is 1 in production")
SECRET_KEY = text(
    "SECRET_KEY", "" if PRODUCTION else "for-development-only-and-known-to-everybody", required=True
)
ALLOWED_HOSTS = listing("ALLOWED_HOSTS", required=PRODUCTION)
if not PRODUCTION:
    ALLOWED_HOSTS += ["localhost", "127.0.0.1", "[::1]"]
CSRF_TRUSTED_ORIGINS = listing("CSRF_TRUSTED_ORIGINS")

# Messages to people, and the links in them
DEMARC_URL = text("DEMARC_URL", "" if PRODUCTION else f"http://127.0.0.1:{text('PORT', '8000')}").rstrip("/")
if DEMARC_URL and not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", DEMARC_URL):
    problems.append(f"DEMARC_URL is {DEMARC_URL!r}, not an address such as https://demarc.example.com")
EMAIL_URL = text("EMAIL_URL", "none:" if PRODUCTION else "console:")
EMAIL_TIMEOUT = 20  # seconds
try:
    globals().update(mailserver.from_url(EMAIL_URL))
except ValueError as error:
    problems.append(f"EMAIL_URL: {error}")
MAILED = EMAIL_URL != "none:"
_BY_SERVER = EMAIL_URL.startswith("smtp")
DEFAULT_FROM_EMAIL = text("EMAIL_FROM", "" if _BY_SERVER else "demarc@localhost", required=_BY_SERVER)
if _BY_SERVER and not DEMARC_URL:
    problems.append("DEMARC_URL is not set, and e-mail needs it for its links")

DEMARC_HOME = Path(text("DEMARC_HOME", str(BASE_DIR / ".demarc"))).absolute()

# Settings of the organisation (core.models.Settings) that the environment fixes: {field: value}, from DEMARC_ and the field's name


def time_zone(name):
    zone = text(name)
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        problems.append(f"{name} is {zone!r}, not a time zone such as Europe/Berlin")
    return zone


def currency(name):
    code = text(name)
    if not re.fullmatch("[A-Z]{3}", code):
        problems.append(f"{name} is {code!r}, not a code of three capitals such as USD")
    return code


FIXABLE = {
    "name": text,
    "currency": currency,
    "time_zone": time_zone,
    "renewal_grace_days": lambda name: number(name, least=0),
    "check_accounts_per_segment": number,
    "check_completeness": number,
    "check_fresh": number,
    "check_dimensions": number,
    "check_values_per_dimension": number,
    "check_segments_from": number,
    "check_segments_to": number,
    "check_segments_at_most": number,
    "import_mb": number,
    "import_memory_mb": number,
    "import_seconds": number,
    "import_rejected": number,
    "override_days": number,
    "override_days_at_most": number,
    "override_reminder_days": number,
    "stand_in_days_at_most": number,
    "night_hour": number,
    "morning_hour": number,
    "lockout_minutes": number,
    "facts_days_at_most": number,
}
FIXED = {
    field: read(f"DEMARC_{field.upper()}")
    for field, read in FIXABLE.items()
    if text(f"DEMARC_{field.upper()}")
}
TIME_ZONE = FIXED.get(
    "time_zone", "UTC"
)  # where nobody asks for the organisation's (core.organisation.in_its_time)

# The functions asked, told or shown further right: accounts and segmentation do not import governance
GATES = {  # accounts.gates: {name: function}
    "declare": "governance.signoff.permissions.declare_gate",
    "declared": "governance.events.declared",
    "facts": "governance.changes.conflicts.gate",
    "facts_written": "segmentation.evaluation.causes.of_facts",
    "delivery": "governance.changes.import_gate.delivered",
    "import": "governance.changes.import_gate.gate",
    "import_page": "governance.changes.import_gate.on_import_page",
    "imported": "governance.changes.import_gate.ended",
    "rules": "governance.changes.activations.gate",
    "segments_used": "governance.changes.segments_used.gate",
    "rules_page": "governance.admin.activations.on_rules_page",
}
AFTER_RUN = ["governance.tasks.follow"]  # names of tasks that are sent when a recalculation has ended
# Further filters of the list of accounts
ACCOUNT_LIST_FILTERS = ["governance.admin.transitions.TierChangeFilter"]
# More that can be done with accounts chosen in their list: names of actions as lists of the admin take them, with `may(user)`.
ACCOUNT_LIST_ACTIONS = [
    "governance.admin.account_actions.plan",
    "governance.admin.account_actions.override",
    "governance.admin.account_actions.acknowledge",
]
# More parts of the account's page: names of functions part(request, account) that give, as far as there is something,
#   "actions": [{"label", "url", "icon", "primary"}], what to do with it; "badges": [(class, text, url or "")]
#   "next": [{"title", "text", "due": date or None, "url", "button"}], what is open about it
#   "holds": {layer id: a sentence}, why the segment in force is not that of the rules, or what else is open about it
#   "becomes": {layer id: the Segment to come, or None where none does}, for how the customer is served afterwards
#   "happened": [{"on": date, "title", "text", "who", "reason", "url"}], entries of the timeline
# and ask the database a fixed number of times.
ACCOUNT_PAGE_PARTS = [
    "governance.admin.transitions.part",
    "governance.admin.alerts.account_part",
    "governance.admin.overrides.part",
    "governance.admin.approvals.account_part",
    "governance.admin.conflicts.part",
    "governance.admin.audit.account_part",
]
# More parts of home: names of functions part(request) that give "template", a part of home that sees what the function
# gave as `part`, and "step", (sentence, button, address) of what waits for this person, or None.
HOME_PARTS = ["governance.admin.home.part"]
# More steps after a recalculation: names of functions part(request, run) that give the steps its page offers,
# [{"text", "help", "url", "button"}], the most pressing first.
RUN_PAGE_PARTS = ["governance.admin.home.run_part"]

# Database: the address given, else the embedded server, started by the first connection
DATABASES = {"default": {"ENGINE": "config.postgres", "NAME": "demarc"}}
if url := text("DATABASE_URL", required=PRODUCTION):
    try:
        DATABASES["default"] = database.from_url(url)
    except ValueError as error:
        problems.append(f"DATABASE_URL: {error}")
DATABASES["default"] |= {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Only figures that can be counted again are kept here, so each process may keep its own
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

CELERY_BROKER_URL = text("CELERY_BROKER_URL")
QUEUE = text("DEMARC_QUEUE", "demarc")
if not re.fullmatch(r"[a-z0-9_]{1,40}", QUEUE):  # pgmq allows 47 characters
    problems.append(f"DEMARC_QUEUE is {QUEUE!r}: up to 40 of a-z, 0-9 and _")

LEASE_SECONDS = number("DEMARC_LEASE", "30")
SWEEP_SECONDS = number("DEMARC_SWEEP", "30")

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "config.site.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "simple_history",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "core",
    "axes",
    "accounts",
    "segmentation",
    "governance",
    "config",
]

MIDDLEWARE = [
    "config.middleware.content_security_policy",
    "django.middleware.security.SecurityMiddleware",
    "config.middleware.size_limit",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.middleware.gzip",  # an admin list of 100 rows is 524 KB, 17 KB zipped
    "config.middleware.no_nul",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "simple_history.middleware.HistoryRequestMiddleware",
    "config.middleware.acting_person",
    "config.middleware.last_act",
    "config.middleware.known_browser",
    "axes.middleware.AxesMiddleware",
    "config.middleware.Refusals",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Wrong passwords (governance.signoff.logins): counted there, in the tables of django-axes
AUTHENTICATION_BACKENDS = ["governance.signoff.logins.Backend"]
AXES_HANDLER = "governance.signoff.logins.Handler"
AXES_LOCKOUT_CALLABLE = "governance.admin.logins.answer"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"], "username", "ip_address"]
AXES_ENABLE_ADMIN = False  # a lock is lifted on the person's page
AXES_VERBOSE = False
ADDRESS_HEADER = text("DEMARC_ADDRESS_HEADER")
if not re.fullmatch("[A-Za-z][A-Za-z0-9-]*|", ADDRESS_HEADER):
    problems.append(f"DEMARC_ADDRESS_HEADER is {ADDRESS_HEADER!r}, not the name of a header")
PROXIES = number("DEMARC_PROXIES", "1")

# The API (core.api)
API_CALLS = number("DEMARC_API_CALLS", "600")
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "core.api.authentication.ByToken",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PARSER_CLASSES": ["core.api.bodies.Json"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_THROTTLE_CLASSES": ["core.api.limits.PerMinute"],
    "DEFAULT_SCHEMA_CLASS": "core.api.schema.Schema",
    "EXCEPTION_HANDLER": "core.api.problems.answer",
    "UNICODE_JSON": True,
    "URL_FORMAT_OVERRIDE": None,  # `format` is a parameter like others
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Demarc",
    "DESCRIPTION": "Send facts and events of accounts; read segments, why, and what changed.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "POSTPROCESSING_HOOKS": ["core.api.schema.with_problems"],
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
DATE_FORMAT = "j M Y"
DATETIME_FORMAT = "j M Y, H:i"

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = BASE_DIR / "staticfiles" if PRODUCTION else None
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if PRODUCTION
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = not PRODUCTION  # only production needs collectstatic

# Security
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PRODUCTION
SESSION_COOKIE_AGE = 12 * 3600
X_FRAME_OPTIONS = "DENY"
SECURE_SSL_REDIRECT = PRODUCTION and flag("DEMARC_SSL_REDIRECT", "1")
SECURE_HSTS_SECONDS = 30 * 24 * 3600 if PRODUCTION else 0
if flag("DEMARC_TRUST_PROXY", "0"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# Sub-domains and browsers' preload lists are for the owner of the domain to decide, not for us;
# W008 warns of the redirect that a proxy may do instead.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"] + (
    [] if SECURE_SSL_REDIRECT else ["security.W008"]
)

UNFOLD = {
    "SITE_TITLE": "Demarc",
    "SITE_HEADER": "Demarc",
    "SITE_SUBHEADER": "config.site.subheader",
    "SITE_URL": None,
    "SITE_SYMBOL": "segment",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("demarc/favicon.svg")}
    ],
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_HISTORY": False,
    "BORDER_RADIUS": "8px",
    "DASHBOARD_CALLBACK": "segmentation.admin.home.dashboard",
    "STYLES": [lambda request: static("demarc/demarc.css")],
    "SCRIPTS": [lambda request: static("demarc/demarc.js"), lambda request: static("demarc/search.js")],
    "COLORS": {
        "primary": {
            "50": "#f5f3ff",
            "100": "#ede9fe",
            "200": "#ddd6fe",
            "300": "#c4b5fd",
            "400": "#a78bfa",
            "500": "#8b5cf6",
            "600": "#7c3aed",
            "700": "#6d28d9",
            "800": "#5b21b6",
            "900": "#4c1d95",
            "950": "#2e1065",
        }
    },
}

# Logs go to stderr: stdout is for data
LOG_STEPS = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]
if PRODUCTION:
    LOG_FORM = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
else:
    LOG_FORM = [
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "lines": {
            "()": structlog.stdlib.ProcessorFormatter,
            "foreign_pre_chain": LOG_STEPS,
            "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *LOG_FORM],
        },
    },
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "lines"},
    },
    "root": {"handlers": ["stderr"], "level": text("DEMARC_LOG_LEVEL", "INFO").upper()},
    "loggers": {
        # Django's own handlers would print to the console a second time, and mail.
        "django": {"handlers": [], "propagate": True},
        "django.server": {"handlers": [], "propagate": True},
        "sqlglot": {"level": "ERROR"},  # it warns of syntax that we refuse anyway
    },
}
structlog.configure(
    processors=[*LOG_STEPS, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=True,
)

if problems:
    raise ImproperlyConfigured("; ".join(problems))
