"""Whether an error says that memory is full: of a GPU, by whatever library, or of the processor. No torch."""

import errno
import re

# How allocators and the libraries above them word it: torch on each kind of device, CUDA, ROCm and Intel's
# runtimes, and C++. A library that can't make its handle (`cublasCreate`) found no room for its workspace.
_FULL = re.compile(
    r"out[ _-]?of[ _-]?(device[ _-]|host[ _-])?memory|not enough memory|insufficient memory"
    r"|(can't|cannot|could not|unable to|failed to) allocate|std::bad_alloc"
    r"|(CU|HIP|ROC|miopen)\w*_?STATUS_?(ALLOC_?FAILED|MEMORY_?ERROR)"
    r"|cudaErrorMemoryAllocation|hipErrorMemoryAllocation|OUT_OF_RESOURCES"
    r"|STATUS_NOT_INITIALIZED when calling `\w+Create",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Tell whether an error, or one that it was raised from, says that memory is full."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return True
        # torch's own exceptions are RuntimeErrors, and only some libraries have one of their own for it.
        if isinstance(error, RuntimeError) and _FULL.search(str(error)):
            return True
        error = error.__cause__
    return False
