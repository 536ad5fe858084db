"""The base of every resource: who may, in whose name, once, and told how.

    @register
    class Products(Listed, Resource):
        path = "products"
        permissions = {"list": "accounts.view_product", "retrieve": "accounts.view_product"}
        ...

A resource is a serializer, a Resource and one call: what it does is done by the functions the pages use.
"""

from functools import partial

from rest_framework import permissions, viewsets
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response

from core.api import idempotency, pages, queries, versions
from core.api.problems import Error, Problem, escaped
from core.history import acting, with_token
from core.locking import locked
from core.refusals import recorded_afterwards

SAFE = ("GET", "HEAD", "OPTIONS")
ID = "[0-9]{1,18}"
RESOURCES = []


def register(resource):
    """Add a resource to the API; the address is told by its `path`."""
    RESOURCES.append(resource)
    return resource


class Permitted(permissions.BasePermission):
    """Whoever has the permission that the resource names for what is asked; tokens that read only change nothing."""

    def has_permission(self, request, view):
        if not (request.user and request.user.is_authenticated):
            return False
        if request.auth is not None and not request.auth.writes and request.method not in SAFE:
            raise Problem(403, "token_reads_only")
        if view.action in (None, "metadata"):  # a method the address does not have; that is told next
            return True
        needed = view.permissions[view.action]
        return not needed or request.user.has_perms([needed] if isinstance(needed, str) else needed)


class Resource(viewsets.GenericViewSet):
    """permissions: {action: the permission it needs, several, or ""}. filters: {parameter: core.api.queries.Filter}.

    orderings: columns that are never NULL, the usual one first. action_filters: {action: its Filters}, of others than lists.
    """

    path = ""
    permissions = {}
    filters = {}
    orderings = ("id",)
    action_filters = {}
    lookup_value_regex = ID
    pagination_class = pages.Described
    http_method_names = ["get", "head", "post", "patch", "delete"]
    permission_classes = [Permitted]

    def dispatch(self, request, *args, **kwargs):
        """Answer, in the name of who asks; what changes something in one transaction, with its refusals kept."""
        self.args, self.kwargs = args, kwargs
        self.request = request = self.initialize_request(request, *args, **kwargs)
        self.headers = self.default_response_headers
        try:
            self.initial(request, *args, **kwargs)
            method = request.method.lower()
            known = method in self.http_method_names
            handler = getattr(self, method, None) if known else None
            handler = handler or self.http_method_not_allowed
            with acting(by=request.user, label=_label(request), channel="api"), recorded_afterwards():
                self.values = queries.parameters(request, self.parameters())
                effect = partial(handler, request, *args, **kwargs)
                response = effect() if request.method in SAFE else idempotency.once(request, effect)
        except Exception as error:
            response = self.handle_exception(error)
        self.response = self.finalize_response(request, response, *args, **kwargs)
        return self.response

    def parameters(self):
        """{name: Filter} of the parameters of what is asked."""
        if self.action == "list":
            return self.filters | pages.filters(self.orderings)
        return self.action_filters.get(self.action, {})

    def rows(self):
        """The rows there are for whoever asks."""
        return self.queryset.all()

    def get_queryset(self):
        return self.rows()

    def row(self, *, lock=False):
        """The row of the address; 404 where there is none. lock: nobody else changes it until the transaction ends."""
        rows = self.rows().filter(pk=self.kwargs["pk"])
        found = (locked(rows) if lock else rows).first()
        if found is None:
            raise Problem(404, "not_found")
        return found

    def told(self, row):
        """A row as the API tells it."""
        return self.get_serializer_class()(row, context=self.get_serializer_context()).data

    def sent(self, serializer, *, partial=False, needed=()):
        """The values of a body, read by a serializer; a field it does not know is refused, and so is one that is missing."""
        given = self.request.data
        reader = serializer(data=given, partial=partial, context=self.get_serializer_context())
        if isinstance(given, dict):
            known = {name for name, field in reader.fields.items() if not field.read_only}
            if unknown := sorted(given.keys() - known):
                raise _unknown_fields(unknown, known)
        reader.is_valid(raise_exception=True)
        if missing := [name for name in needed if name not in given]:
            raise ValidationError({name: ["This field is required."] for name in missing})
        return reader.validated_data

    def check(self, row, values):
        """Set values of a row and check it as a whole, as the forms of the pages do; nothing is saved."""
        for name, value in values.items():
            setattr(row, name, value)
        others = [field.name for field in row._meta.fields if field.name not in values]
        row.clean_fields(exclude=others)
        row.clean()
        row.validate_unique()
        row.validate_constraints()
        return row

    def current(self):
        """The row of the address, locked and as If-Match names it."""
        row = self.row(lock=True)
        versions.check(self.request, self.told(row))
        return row

    def changed(self, row, status=200):
        """The answer after a change: the row as it is now, with its ETag."""
        told = self.told(self.rows().get(pk=row.pk))
        return Response(told, status, headers={"ETag": versions.etag(told)})


def _unknown_fields(names, known):
    """The Problem of fields a body may not have."""
    detail = "There is no field {}. There are: {}."
    listed = ", ".join(sorted(known)) or "none"
    errors = [
        Error(f"/{escaped(name[:100])}", "field_unknown", detail.format(name[:100], listed)) for name in names
    ]
    return Problem(400, "invalid", errors[0].detail, errors)


class Listed:
    """Lists rows, a page at a time, and tells a single one."""

    def list(self, request, **where):
        rows = queries.filtered(self.rows(), self.values, self.filters)
        found, cursor = pages.page(self.narrowed(rows), self.values, self.orderings)
        serializer = self.get_serializer_class()
        told = serializer(self.filled(found), many=True, context=self.get_serializer_context()).data
        return Response({"results": told, "next": self.address_of(cursor), "cursor": cursor})

    def narrowed(self, rows):
        """The rows by filters that are more than a lookup."""
        return rows

    def filled(self, found):
        """The rows of a page, with what is read for all of them together."""
        return found

    def address_of(self, cursor):
        if cursor is None:
            return None
        given = self.request.query_params.copy()
        given["cursor"] = cursor
        return self.request.build_absolute_uri(f"{self.request.path}?{given.urlencode()}")

    def retrieve(self, request, pk=None):
        return versions.answer(request, self.told(self.row()))


class Saved:
    """Creates rows and changes them, as the forms of the pages do."""

    def create(self, request):
        row = self.queryset.model()
        sent = self.sent(self.serializer_class)
        for name in sent:
            setattr(row, name, sent[name])
        row.full_clean()
        row.save()
        answer = self.changed(row, 201)
        answer["Location"] = request.build_absolute_uri(f"{request.path}/{row.pk}")
        return answer

    def partial_update(self, request, pk=None):
        sent = self.sent(self.serializer_class, partial=True)
        row = self.check(self.current(), sent)
        row.save()
        return self.changed(row)


def _label(request):
    name = request.user.get_username()
    return with_token(name, request.auth.key) if request.auth is not None else name
