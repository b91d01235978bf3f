"""Where a database is: URLs and engines, as the executors take them."""

from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from keepstep.errors import UsageError
from keepstep.store.address import Address, dsn_of, url_of

POSTGRES = [
    ("postgresql://u:p@h:1/d", "postgresql://u:p@h:1/d"),
    ("postgres://u:p@h/d", "postgresql://u:p@h/d"),
    ("postgresql+asyncpg://u:p%40x@h/d", "postgresql://u:p%40x@h/d"),
    ("postgresql+psycopg://h/d?ssl=require&x=1", "postgresql://h/d?sslmode=require&x=1"),
    (
        "postgresql://a,b:2/d?target_session_attrs=read-write",
        "postgresql://a,b:2/d?target_session_attrs=read-write",
    ),
]


@pytest.mark.parametrize(("url", "dsn"), POSTGRES)
def test_postgresql_urls(url, dsn):
    """Any driver's URL names the same database, with its password."""
    assert url_of(url) == Address("postgresql", dsn)
    assert dsn_of(url) == dsn


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///a/b.db", "a/b.db"),
        ("sqlite:////a/b.db", "/a/b.db"),
        ("sqlite+aiosqlite:///b.db", "b.db"),
        ("sqlite://", ":memory:"),
        ("sqlite:///:memory:", ":memory:"),
    ],
)
def test_sqlite_urls(url, path):
    """A path, or memory."""
    assert url_of(url) == Address("sqlite", path)


def test_a_path_is_a_sqlite_file():
    """Without any ceremony."""
    assert url_of(Path("a.db")) == Address("sqlite", "a.db")


def test_engines_of_both_colours():
    """A host gives the engine that it has."""
    assert url_of(create_engine("sqlite:///a.db")) == Address("sqlite", "a.db")
    assert url_of(create_async_engine("sqlite+aiosqlite:///a.db")) == Address("sqlite", "a.db")
    url = URL.create("postgresql+psycopg", "u", "p@ss", "h", 5, "d")
    assert url_of(create_engine(url)) == Address("postgresql", "postgresql://u:p%40ss@h:5/d")
    asynchronous = create_async_engine(url.set(drivername="postgresql+asyncpg"))
    assert url_of(asynchronous) == url_of(create_engine(url))


def test_several_hosts_of_an_engine():
    """SQLAlchemy names them in the query, a DSN before the database."""
    engine = create_engine("postgresql+psycopg://u:p@/d?host=a:1&host=b:2&x=1")
    assert url_of(engine).location == "postgresql://u:p@a:1,b:2/d?x=1"
    one = create_engine("postgresql+psycopg://u@/d?host=a")
    assert url_of(one).location == "postgresql://u@a/d"


@pytest.mark.parametrize("wrong", ["mysql://u:secret@h/d", "shop.db", "", "postgresql:/x", 7, None])
def test_what_cannot_be_used_is_refused(wrong):
    """With a word about what is expected, and without a password."""
    with pytest.raises(UsageError, match=r"sqlite:///path or postgresql://") as caught:
        url_of(wrong)
    assert "secret" not in str(caught.value)


def test_an_address_does_not_show_its_password():
    """It may end up in a log."""
    assert "secret" not in repr(url_of("postgresql://u:secret@h/d"))
    assert "u:***@h/d" in repr(url_of("postgresql://u:secret@h/d"))
