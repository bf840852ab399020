"""Makes ``twistd iii`` known."""

from twisted.application.service import ServiceMaker

iii = ServiceMaker("iii", "iii.tap", "The iii engine", "iii")
