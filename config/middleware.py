"""Who a web request acts for."""

from accounts.history import acting


def acting_person(get_response):
    """Everything written while a request is answered is recorded as done by its user, through the admin."""

    def middleware(request):
        user = getattr(request, "user", None)
        known = user if user is not None and user.is_authenticated else None
        with acting(by=known, label="" if known else "visitor", channel="admin"):
            return get_response(request)

    return middleware
