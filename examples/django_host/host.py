"""A Django shop: the order's row and its workflow begin in one ``transaction.atomic()``, which Django commits.

`configure(database)` stands in for a project's settings module; a real project starts the app in `AppConfig.ready`.
"""

from __future__ import annotations

import json
from typing import Any

import django
from django.conf import settings
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from examples.django_host.joining import joined
from keepstep import App, Bindings, EventModel, InstanceNotFoundError, WorkflowEvent, WorkflowStep, workflow

if not settings.configured:
    settings.configure(
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["*"],
        USE_TZ=True,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    )
    django.setup()


class Order(models.Model):
    """One order."""

    id = models.CharField(max_length=100, primary_key=True)
    item = models.CharField(max_length=100)

    class Meta:
        """It belongs to no installed application: the example is one file."""

        app_label = "shop"


class Payment(EventModel, type="payment"):
    """Money has come in."""

    cents: int


@workflow(name="order", events=[Payment])
async def order(event: WorkflowEvent[str], step: WorkflowStep) -> str:
    """Wait for the money; the params are the item."""
    payment = await step.wait_for_event("money", Payment, timeout="14 days")
    return f"{event.payload} for {payment.payload.cents} cents"


class Workflows(Bindings):
    """The shop's workflows."""

    order = order


class Shop:
    """The app of this process; started beside the server."""

    app: App[Workflows]


def place(request: HttpRequest, order_id: str) -> HttpResponse:
    """Write the row and begin the workflow, both or neither."""
    body: dict[str, Any] = json.loads(request.body)
    with transaction.atomic(), joined(Shop.app) as shop:
        Order.objects.create(id=order_id, item=body["item"])
        shop.binding(order).create(id=order_id, params=body["item"])
        if body["item"] == "unicorn":
            transaction.set_rollback(True)
            return JsonResponse({"detail": "out of stock"}, status=409)
    return JsonResponse({"order": order_id}, status=201)


def pay(request: HttpRequest, order_id: str) -> HttpResponse:
    """Take a bank's message, in a transaction of keepstep's own."""
    payment = Payment.model_validate_json(request.body)
    Shop.app.sync.binding(order).instance(order_id).send_event(payment)
    return JsonResponse({}, status=202)


def look(_: HttpRequest, order_id: str) -> HttpResponse:
    """Say how it stands, in words."""
    try:
        return JsonResponse({"why": Shop.app.sync.binding(order).instance(order_id).why()})
    except InstanceNotFoundError as error:
        return JsonResponse({"code": error.code}, status=404)


urlpatterns = [
    path("orders/<str:order_id>", look),
    path("orders/<str:order_id>/place", place),
    path("orders/<str:order_id>/payments", pay),
]
