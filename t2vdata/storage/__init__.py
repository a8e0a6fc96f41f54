"""Access to local files and object stores; no other package opens URLs. ``Folder`` is where a build writes."""

from t2vdata.storage.atomic_write import (
    ASIDE,
    make_folder,
    remove,
    remove_all,
    remove_folder,
    sweep,
    write_whole,
    written_whole,
)
from t2vdata.storage.files import (
    blocks,
    check_regular,
    copy_here,
    exists,
    fetched,
    files_below,
    is_folder,
    list_names,
    map_file,
    mappings_keep_descriptors,
    open_read,
    open_regular,
    read_bytes,
    read_first_line,
    read_range,
    reading,
    sha256,
    size,
    sizes,
)
from t2vdata.storage.folder import (
    Folder,
)
from t2vdata.storage.paths import (
    absolute,
    is_url,
    join,
    parent,
    why_not_url,
)
from t2vdata.storage.retry import (
    retry_reading,
)
from t2vdata.storage.scratch import (
    scratch,
    scratch_errors,
)

__all__ = [
    "ASIDE",
    "Folder",
    "absolute",
    "blocks",
    "check_regular",
    "copy_here",
    "exists",
    "fetched",
    "files_below",
    "is_folder",
    "is_url",
    "join",
    "list_names",
    "make_folder",
    "map_file",
    "mappings_keep_descriptors",
    "open_read",
    "open_regular",
    "parent",
    "read_bytes",
    "read_first_line",
    "read_range",
    "reading",
    "remove",
    "remove_all",
    "remove_folder",
    "retry_reading",
    "scratch",
    "scratch_errors",
    "sha256",
    "size",
    "sizes",
    "sweep",
    "why_not_url",
    "write_whole",
    "written_whole",
]
