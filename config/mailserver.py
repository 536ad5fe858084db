"""Where e-mail goes: EMAIL_URL to Django's settings."""

from urllib.parse import unquote, urlsplit

BACKENDS = "django.core.mail.backends"
PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}
EXPECTED = "smtp://, smtp+tls:// or smtps://user:password@host:port, console: or none:"


def from_url(url):
    """Django's settings for an address of a mail server; ValueError if it is not one.

    smtp+tls begins unencrypted and changes over (STARTTLS), smtps is encrypted from the start. `console:` prints messages,
    `none:` drops them.
    """
    parts = urlsplit(url)
    if parts.scheme in ("console", "none") and not parts.netloc and not parts.path:
        return {
            "EMAIL_BACKEND": f"{BACKENDS}.{'console' if parts.scheme == 'console' else 'dummy'}.EmailBackend"
        }
    if parts.scheme not in PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(f"expected {EXPECTED}")
    return {
        "EMAIL_BACKEND": f"{BACKENDS}.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": parts.port or PORTS[parts.scheme],
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_TLS": parts.scheme == "smtp+tls",
        "EMAIL_USE_SSL": parts.scheme == "smtps",
    }
