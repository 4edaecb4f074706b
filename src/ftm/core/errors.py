"""Every error ftm raises on purpose.

    FtmError
    ├── ConfigError (ValueError)                a setting or an argument is wrong
    │   └── NoCallsError                        WRDS has no earnings call in the quarter
    ├── StoreError (OSError)                    the object store failed or refused
    │   ├── StoreUnavailableError               no such bucket, 403, not writable, disk full
    │   │   └── StoreGaveUpError                it had answered, and does not any more
    │   ├── ObjectNotFoundError (FileNotFoundError)
    │   ├── ObjectExistsError (FileExistsError) put-if-absent found something
    │   └── PreconditionFailedError             If-Match: somebody else wrote
    ├── CorruptObjectError (ValueError)         bytes differ from what was recorded
    ├── SchemaError (ValueError)                a table does not fit its schema
    ├── ManifestNotFoundError (FileNotFoundError)
    ├── ManifestVersionError (ValueError)       written by a newer ftm
    ├── FingerprintMismatchError                chunks made by another text pipeline
    ├── LeaseError
    │   ├── LeaseHeldError                      another writer is alive
    │   └── LeaseLostError                      we slept and were taken over
    ├── UnknownFirmError (LookupError)
    ├── ModelNotFoundError (LookupError)        a spaCy or embedding model is not installed
    ├── PreprocessingError                      one firm's text could not be processed
    ├── TopicModelError                         one firm could not be clustered
    ├── CircuitBreakerError                     too many firms failed in a row
    ├── WRDSError
    │   ├── WRDSConnectionError (ConnectionError)
    │   │   └── WRDSConnectionLostError         it was there, and was cut
    │   └── WRDSQueryError
    │       └── WRDSPermissionError (PermissionError)
    ├── JobError                                the job backend failed
    │   ├── AWSAccessError (PermissionError)    no, expired or too weak credentials
    │   └── AWSUnavailableError                 throttled, or no answer: what runs goes on
    ├── QueryError (ValueError)                 SQL over the results is wrong, or may not be run
    ├── SetupError                              what ftm is to be set up from cannot be used
    ├── OrchestratorError
    │   ├── PrefetchRequiredError
    │   └── BatchFailedError
    ├── LLMUnavailableError (ConnectionError)   no answer from the language-model server
    ├── LLMRefusedError                         it answers, and refuses: key, model, context
    └── NamingError                             what it answers is no name

A message says what failed, the value, what was expected and the command that mends it.
Only `TransientStoreError`, private to the store, `AWSUnavailableError`, and `TransientLLMError`,
private to naming, are ever retried.
"""


class FtmError(Exception):
    """Root of all errors a user may see as one line; anything else is a bug."""


class ConfigError(FtmError, ValueError):
    """A setting, flag or argument has a value ftm cannot use."""


class NoCallsError(ConfigError):
    """WRDS has no earnings call in a quarter."""


class StoreError(FtmError, OSError):
    """The object store failed, or refused, an operation."""


class StoreUnavailableError(StoreError):
    """The store cannot be used at all: no bucket, no rights, no space."""


class StoreGaveUpError(StoreUnavailableError):
    """A store that had answered does not any more, or is busy for longer than is waited."""


class ObjectNotFoundError(StoreError, FileNotFoundError):
    """No object has this key."""


class ObjectExistsError(StoreError, FileExistsError):
    """A put-if-absent found an object that is not ours."""


class PreconditionFailedError(StoreError):
    """An If-Match put found a version that another writer made."""


class CorruptObjectError(FtmError, ValueError):
    """An object's bytes differ from what its manifest recorded.

    Args:
        message: what is wrong, with the key and the fix.
        key: the object's key in the store.
    """

    def __init__(self, message: str, *, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class SchemaError(FtmError, ValueError):
    """A table does not fit the schema of its dataset."""


class ManifestNotFoundError(FtmError, FileNotFoundError):
    """A quarter has no prefetch manifest in this store."""


class ManifestVersionError(FtmError, ValueError):
    """A manifest was written by a newer ftm than this one."""


class FingerprintMismatchError(FtmError):
    """Existing chunks were made by another text pipeline."""


class LeaseError(FtmError):
    """The right to write a quarter is not ours."""


class LeaseHeldError(LeaseError):
    """Another live writer holds the quarter."""


class LeaseLostError(LeaseError):
    """Our lease ran out and another writer took over."""


class UnknownFirmError(FtmError, LookupError):
    """Firm ids that the quarter does not know.

    Args:
        message: which ids, and what exists.
        firm_ids: the ids that are not known.
    """

    def __init__(self, message: str, *, firm_ids: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.firm_ids = firm_ids


class ModelNotFoundError(FtmError, LookupError):
    """A spaCy pipeline or an embedding model is not installed here."""


class PreprocessingError(FtmError):
    """One firm's text could not be preprocessed."""


class TopicModelError(FtmError):
    """One firm's sentences could not be clustered."""


class CircuitBreakerError(FtmError):
    """Too many firms failed; going on would only waste money."""


class WRDSError(FtmError):
    """Reading WRDS failed."""


class WRDSConnectionError(WRDSError, ConnectionError):
    """The login failed, or the one connection was lost."""


class WRDSConnectionLostError(WRDSConnectionError):
    """The one connection was cut; going on needs another login."""


class WRDSQueryError(WRDSError):
    """A query failed or answered something impossible."""


class WRDSPermissionError(WRDSQueryError, PermissionError):
    """This WRDS account may not read a table ftm needs."""


class JobError(FtmError):
    """The job backend could not submit, watch or cancel.

    Args:
        message: what failed, and the fix.
        code: AWS's own word for it, like `NoSuchBucket`; empty if there is none.
    """

    def __init__(self, message: str = "", *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class AWSAccessError(JobError, PermissionError):
    """AWS does not accept the credentials, or they may not do this."""


class AWSUnavailableError(JobError):
    """AWS throttles, or does not answer; jobs that run are not touched by it."""


class QueryError(FtmError, ValueError):
    """SQL over the results is wrong, or would do more than read the store's tables."""


class SetupError(FtmError):
    """What ftm is to be set up from, like Terraform's outputs, cannot be had or used."""


class OrchestratorError(FtmError):
    """A quarter could not be carried through."""


class PrefetchRequiredError(OrchestratorError):
    """The quarter is not prefetched; run-quarter never reads WRDS."""


class BatchFailedError(OrchestratorError):
    """At least one batch of a stage failed.

    Args:
        message: how many failed and where to look.
        batch_ids: the batches that failed.
    """

    def __init__(self, message: str, *, batch_ids: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.batch_ids = batch_ids


class LLMUnavailableError(FtmError, ConnectionError):
    """The language-model server could not be reached."""


class LLMRefusedError(FtmError):
    """The language-model server answers, but not this key, model or request."""


class NamingError(FtmError):
    """A language model's answers hold no usable name.

    Args:
        message: which topics or themes, and what is wrong with the answers.
        item_ids: all that have no name.
    """

    def __init__(self, message: str, *, item_ids: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.item_ids = item_ids
