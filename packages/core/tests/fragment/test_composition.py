"""Composition: whatever does not fit is said when the app is made, with its name, before anything runs (G2)."""

import inspect

import pytest
from pydantic import BaseModel
from sqlalchemy import Column, Integer, MetaData, Table

from keepstep import App, Bindings, Fragment, UsageError, WorkflowEntrypoint, workflow
from keepstep.errors import InvalidInputError

URL = "sqlite:///never-opened.db"


class Needy(BaseModel):
    """A configuration that has no default."""

    key: str


def compose(*fragments, **options):
    """An app that is never opened."""
    return App(URL, fragments=fragments, dispatcher=None, **options)


def test_a_missing_dependency_is_named(library):
    """A fragment that is used and not mounted is a UsageError that names both (G2)."""
    with pytest.raises(
        UsageError, match=r"Fragment shop as shop> uses <Fragment billing>, which is not mounted"
    ):
        compose(library.shop)


def test_a_mistyped_dependency_is_named(library):
    """Another fragment under the name of the one that is used does not do (G2)."""
    with pytest.raises(UsageError, match="but another fragment is mounted as 'billing'"):
        compose(library.shop, Fragment("billing"))


def test_an_ambiguous_dependency_is_named(library):
    """Two instances, neither under the fragment's own name: the host says which (G2)."""
    first, second = (library.billing.instance(name) for name in ("eu", "us"))
    with pytest.raises(UsageError, match="mounted as eu, us: say which"):
        compose(first, second, library.shop)
    compose(first, second, library.shop.instance(uses=[second]))


def test_a_dependency_that_is_not_asked_for_is_named(library):
    """What a host hands over must be used (G2)."""
    other = Fragment("other")
    with pytest.raises(UsageError, match="which <Fragment shop> does not use"):
        compose(library.billing, other, library.shop.instance(uses=[other]))


def test_an_instance_that_is_not_mounted_is_named(library):
    """The instance that is used has to be among the app's (G2)."""
    with pytest.raises(UsageError, match="uses <Fragment billing as eu>, which is not mounted"):
        compose(library.shop.instance(uses=[library.billing.instance("eu")]))


def test_everything_wrong_is_said_at_once(library):
    """One error lists all findings (G2)."""
    needy = Fragment("needy", config=Needy)
    with pytest.raises(UsageError) as raised:
        compose(library.shop, needy, Fragment("workflows"))
    said = str(raised.value)
    assert "billing" in said
    assert "needy.instance('needy', config=Needy(…))" in said
    assert "the name 'workflows' is taken" in said


def test_a_name_is_mounted_once(library):
    """Two fragments under one name cannot be told apart (G2)."""
    with pytest.raises(UsageError, match="'billing' is taken"):
        compose(library.billing, library.billing.instance())


@pytest.mark.parametrize(
    "name",
    ["", "with space", "with-dash", "9lives", "a__b", "_private", "last_", "class", "keepstep", "a" * 33, 7],
)
def test_names_that_cannot_be(name):
    """A fragment's name is an identifier, and can be told from what follows it (C10, G2)."""
    with pytest.raises(UsageError, match="fragment"):
        Fragment(name)
    with pytest.raises(UsageError, match="fragment"):
        Fragment("fine").instance(name)


def test_a_stored_name_that_is_too_long_is_said(library):
    """A workflow's name and its mount's together keep C10."""
    long = Fragment("long")

    @long.workflow(name="w" * 60)
    async def body(event, step): ...

    with pytest.raises((UsageError, InvalidInputError), match="66 characters; 1 to 64"):
        compose(long)


def test_configuration_is_checked():
    """A configuration of another class, or for a fragment that takes none, is refused where it is given (G2)."""
    needy = Fragment("needy", config=Needy)
    with pytest.raises(UsageError, match="takes a Needy"):
        needy.instance(config={"key": "k"})
    with pytest.raises(UsageError, match="takes no configuration"):
        Fragment("plain").instance(config=Needy(key="k"))
    app = compose(needy.instance(config=Needy(key="k")))
    assert app.needy.config == Needy(key="k")


def test_names_within_a_fragment_are_unique(library):
    """Two services, hooks or workflows of one name are refused where the second is written (G2)."""

    def open_invoice(tx): ...

    def invoice_opened(context, payload): ...

    async def collect(event, step): ...

    with pytest.raises(UsageError, match="service of <Fragment billing> named 'open_invoice'"):
        library.billing.service(open_invoice)
    with pytest.raises(UsageError, match="hook of <Fragment billing> named 'invoice_opened'"):
        library.billing.hook(invoice_opened)
    with pytest.raises(UsageError, match="workflow of <Fragment billing> named 'collect'"):
        library.billing.workflow(name="again")(collect)


def test_what_is_no_service_hook_or_route(library):
    """Shapes are checked where they are written (H)."""
    billing = library.billing

    async def colourful(tx): ...

    def too_few(context): ...

    with pytest.raises(UsageError, match="plain def function"):
        billing.service(colourful)
    with pytest.raises(UsageError, match=r"must take \(context, payload\)"):
        billing.hook(too_few)
    with pytest.raises(UsageError, match="concurrency must be an integer"):
        billing.hook(name="other", concurrency=0)(lambda context, payload: None)
    with pytest.raises(UsageError, match="begins with '/'"):
        billing.route("GET", "invoices")
    with pytest.raises(UsageError, match="can use another Fragment"):
        billing.uses(billing)
    with pytest.raises(UsageError, match="a fragment is a Fragment"):
        compose("billing")


def test_routes_are_recorded_as_data():
    """Whoever serves HTTP mounts them (G2)."""
    fragment = Fragment("pages")

    @fragment.route("post", "/orders/{id}", kind="create")
    def create_order(tx, id: int, note: str = ""): ...  # noqa: A002

    (route,) = fragment.routes
    assert (route.method, route.path, route.fn, route.kind) == (
        "POST",
        "/orders/{id}",
        create_order,
        "create",
    )
    assert (route.path_parameters, route.body) == ({"id": (int, inspect.Parameter.empty)}, None)
    assert route.query == {"note": (str, "")}
    with pytest.raises(UsageError, match=r"at POST /orders/\{id\} already"):
        fragment.route("POST", "/orders/{id}")


def test_a_bindings_class_gives_the_workflows():
    """Workflows may be the attributes of a class, which types them; decorated ones are refused then (G2)."""

    @workflow(name="plain")
    async def plain(event, step): ...

    class Shaped(WorkflowEntrypoint[None, None]):
        name = "shaped"

        async def run(self, event, step): ...

    class Workflows(Bindings):
        first = plain
        second = Shaped

    fragment = Fragment("typed", workflows=Workflows)
    app = compose(fragment)
    assert app.typed.workflows.first.name == "typed__plain"
    assert app.typed.workflows.second.name == "typed__shaped"
    assert app.typed.binding(Shaped).name == "typed__shaped"
    with pytest.raises(UsageError, match="attributes of Workflows"):
        fragment.workflow(name="more")


def test_a_fragment_that_is_not_mounted_is_refused(library):
    """Asking for it says under which names it is there (G2)."""
    app = compose(library.billing.instance("eu"), library.billing.instance("us"))
    with pytest.raises(UsageError, match="mounted as eu, us"):
        app.fragment(library.billing)
    with pytest.raises(UsageError, match="not mounted"):
        app.fragment(library.shop)
    one = compose(library.billing.instance("eu"))
    assert one.fragment(library.billing).name == "eu"


def test_tables_of_a_mount_have_names_of_their_own():
    """Tables, indexes and named constraints get the mount's name as a prefix, foreign keys follow (G2)."""
    from sqlalchemy import ForeignKey, Index, UniqueConstraint, insert, select

    from keepstep.fragment.tables import Tables

    metadata = MetaData()
    invoice = Table(
        "invoice",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("number", Integer),
        Column("of", ForeignKey("invoice.id")),
        UniqueConstraint("number", name="uq_number"),
    )
    Index("ix_number", invoice.c.number)
    other = Table("other", MetaData(), Column("id", Integer))
    tables = Tables(metadata, "eu_")
    copy = tables.metadata.tables["eu_invoice"]
    assert {each.name for each in copy.indexes} == {"eu_ix_number"}
    assert "eu_uq_number" in {each.name for each in copy.constraints}
    assert [each.target_fullname for each in copy.foreign_keys] == ["eu_invoice.id"]
    said = str(tables.rewritten(select(invoice.c.number).join(other, other.c.id == invoice.c.id)))
    assert "FROM eu_invoice JOIN other" in said
    assert "INSERT INTO eu_invoice" in str(tables.rewritten(insert(invoice)))
    assert tables.rewritten("SELECT 1") == "SELECT 1"
