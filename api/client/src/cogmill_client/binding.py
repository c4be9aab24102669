"""Procedures as methods: one line each in a blocking and in an async class, with the procedure's own signature."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

from cogmill_client.drivers import AsyncDriver, Driver
from cogmill_client.effects import Items, Steps

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Resource:
    """Methods that block."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver


class AsyncResource:
    """Methods to await."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver


class _Bound(Generic[P, R]):
    """A procedure that becomes a method of whatever holds it."""

    def __init__(self, procedure: Callable[P, R]) -> None:
        self.procedure = procedure
        self.__doc__ = procedure.__doc__

    def method(self, act: Callable[[R], T]) -> Callable[P, T]:
        """The method that hands the procedure to a driver."""
        procedure = self.procedure

        def method(*args: P.args, **kwargs: P.kwargs) -> T:
            return act(procedure(*args, **kwargs))

        return update_wrapper(method, procedure)


class Does(_Bound[P, Steps[T]]):
    """Runs a procedure, and returns what it does."""

    @overload
    def __get__(self, resource: None, owner: type) -> Self: ...

    @overload
    def __get__(self, resource: Resource, owner: type) -> Callable[P, T]: ...

    def __get__(self, resource: Resource | None, owner: type) -> Self | Callable[P, T]:
        return self if resource is None else self.method(resource._driver.run)


class Gives(_Bound[P, Items[T]]):
    """Iterates over a procedure's items."""

    @overload
    def __get__(self, resource: None, owner: type) -> Self: ...

    @overload
    def __get__(self, resource: Resource, owner: type) -> Callable[P, Iterator[T]]: ...

    def __get__(self, resource: Resource | None, owner: type) -> Self | Callable[P, Iterator[T]]:
        return self if resource is None else self.method(resource._driver.each)


class AsyncDoes(_Bound[P, Steps[T]]):
    """The same, to await."""

    @overload
    def __get__(self, resource: None, owner: type) -> Self: ...

    @overload
    def __get__(self, resource: AsyncResource, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...

    def __get__(self, resource: AsyncResource | None, owner: type) -> Self | Callable[P, Coroutine[Any, Any, T]]:
        return self if resource is None else self.method(resource._driver.run)


class AsyncGives(_Bound[P, Items[T]]):
    """The same, for `async for`."""

    @overload
    def __get__(self, resource: None, owner: type) -> Self: ...

    @overload
    def __get__(self, resource: AsyncResource, owner: type) -> Callable[P, AsyncIterator[T]]: ...

    def __get__(self, resource: AsyncResource | None, owner: type) -> Self | Callable[P, AsyncIterator[T]]:
        return self if resource is None else self.method(resource._driver.each)
