"""Makes ``twistd iii`` and its reactor known."""

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker

iii = ServiceMaker("iii", "iii.tap", "The iii engine", "iii")
reactor = Reactor("iii-epoll", "iii.reactor", "epoll(4) without a log context per event")
