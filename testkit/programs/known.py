"""A call tree that is known beforehand. Each line that is under way says in which function
it is. Arguments: what the leaf does (`burn` or `wait`), and for how many seconds."""
import functools
import sys
import threading
import time

WAITS = sys.argv[1] == "wait"
END = time.monotonic() + float(sys.argv[2])


def leaf():
    if WAITS:
        time.sleep(0.02)  # in leaf
    else:
        for _ in range(20000):  # in leaf
            pass  # in leaf


def recursion(depth):
    if depth == 0:
        leaf()  # in recursion
    else:
        recursion(depth - 1)  # in recursion


def make():
    def closure():
        leaf()  # in make.<locals>.closure

    return closure


def key(item):
    leaf()  # in key
    return item


def by_sorted():
    sorted([2, 1], key=key)  # in by_sorted


def add(a, b):
    leaf()  # in add
    return a + b


def by_reduce():
    functools.reduce(add, [1, 2, 3])  # in by_reduce


def numbers():
    for number in range(2):  # in numbers
        leaf()  # in numbers
        yield number  # in numbers


def by_generator():
    sum(numbers())  # in by_generator


def fail():
    leaf()  # in fail
    raise ValueError


def by_exception():
    try:
        fail()  # in by_exception
    except ValueError:
        leaf()  # in by_exception


class Thing:
    def method(self):
        leaf()  # in Thing.method

    @property
    def value(self):
        leaf()  # in Thing.value
        return 1


def f20():
    recursion(3)  # in f20
    make()()  # in f20
    by_sorted()  # in f20
    by_reduce()  # in f20
    by_generator()  # in f20
    by_exception()  # in f20
    Thing().method()  # in f20
    Thing().value  # in f20


def f19(): f20()  # in f19
def f18(): f19()  # in f18
def f17(): f18()  # in f17
def f16(): f17()  # in f16
def f15(): f16()  # in f15
def f14(): f15()  # in f14
def f13(): f14()  # in f13
def f12(): f13()  # in f12
def f11(): f12()  # in f11
def f10(): f11()  # in f10
def f09(): f10()  # in f09
def f08(): f09()  # in f08
def f07(): f08()  # in f07
def f06(): f07()  # in f06
def f05(): f06()  # in f05
def f04(): f05()  # in f04
def f03(): f04()  # in f03
def f02(): f03()  # in f02
def f01(): f02()  # in f01


def work():
    while time.monotonic() < END:  # in work
        f01()  # in work


def other():
    work()  # in other


thread = threading.Thread(target=other)
thread.start()
print("ready", flush=True)
work()  # in <module>
thread.join()  # in <module>
