NO_VECTORS: str
LEFT_OUT: dict[str, str]
COMPILED_BY: str

def runnable() -> tuple[str, ...]: ...
