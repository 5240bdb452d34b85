"""What every route gets: the services and the operator who asks."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from billing_server.assembly import Services
from canteen.operator_access import Operator


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def _operator(request: Request) -> Operator:
    operator: Operator = request.state.operator  # the gate let nobody through without
    return operator


TheServices = Annotated[Services, Depends(_services)]
TheOperator = Annotated[Operator, Depends(_operator)]
