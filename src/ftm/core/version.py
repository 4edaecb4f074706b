"""ftm's own version, for records and messages; never part of a fingerprint."""

VERSION = "0.1.0"
