"""The address a request comes from: the connection, or the header that a declared proxy writes."""

import ipaddress

from django.conf import settings


def of(request):
    """The IP address of whoever sent a request; None where it is not known."""
    named = request.META.get("REMOTE_ADDR", "")
    if settings.ADDRESS_HEADER:
        # Each proxy appends whom it was called by: what stands further left is the visitor's own invention.
        steps = request.headers.get(settings.ADDRESS_HEADER, "").split(",")
        named = steps[-settings.PROXIES].strip() if len(steps) >= settings.PROXIES else ""
    try:
        address = ipaddress.ip_address(named)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
