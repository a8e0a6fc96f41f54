"""Child processes: how they start, the protocol between parent and child, and what is said about one that died.

A message is a JSON header and raw bytes. Only plain data is sent, except that the engine of a build pickles plans and reports;
code is named, as the module whose ``main(channel)`` the child runs. An exception in a child is raised in the parent as itself,
with the child's traceback as a note; a child that really died is reported with the signal or exit status that ended it, or with
what kept it from starting.
"""

from t2vdata.processes.channel import Channel, Message
from t2vdata.processes.child import Child, describe_exit
from t2vdata.processes.raised import describe_error, rebuild_error
from t2vdata.processes.start import reserve_standard_descriptors, search_path, usable_cores
from t2vdata.processes.time_limit import NoAnswerError, TimeLimit

__all__ = [
    "Channel",
    "Child",
    "Message",
    "NoAnswerError",
    "TimeLimit",
    "describe_error",
    "describe_exit",
    "rebuild_error",
    "reserve_standard_descriptors",
    "search_path",
    "usable_cores",
]
