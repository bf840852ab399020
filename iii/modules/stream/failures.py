"""What can fail in a stream, with which code, and how it is put."""

from __future__ import annotations

from iii.errors import Code
from iii.storage.refusals import What

SET = What(Code.STREAM_SET_ERROR, "Failed to set value")
GET = What(Code.STREAM_GET_ERROR, "Failed to get value")
DELETE = What(Code.STREAM_DELETE_ERROR, "Failed to delete value")
UPDATE = What(Code.STREAM_UPDATE_ERROR, "Failed to update value")
LIST = What(Code.STREAM_GET_GROUP_ERROR, "Failed to get group")
LIST_GROUPS = What(Code.STREAM_LIST_GROUPS_ERROR, "Failed to list groups")
LIST_ALL = What(Code.STREAM_LIST_ALL_ERROR, "Failed to list stream")
SEND = What(Code.STREAM_SEND_ERROR, "Failed to send event")
