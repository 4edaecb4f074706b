"""The SQL that reads WRDS, and the tables it reads."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

EARNINGS_CALLS = (48, "Earnings Calls")
"""Capital IQ's key-development event type of earnings calls: id and name."""


@dataclass(frozen=True, slots=True)
class TableNeed:
    """A table ftm reads: its columns, and where accounts have it, best first."""

    columns: tuple[str, ...]
    candidates: tuple[str, ...]
    optional: str | None = None


def _ciq(table: str, home: str = "ciq_transcripts") -> tuple[str, ...]:
    return (f"ciq.{table}", f"{home}.{table}")


NEEDS: dict[str, TableNeed] = {
    "detail": TableNeed(
        (
            "companyid", "keydevid", "transcriptid", "headline", "mostimportantdateutc",
            "mostimportanttimeutc", "keydeveventtypeid", "keydeveventtypename", "companyname",
            "transcriptcollectiontypename", "transcriptpresentationtypename",
            "transcriptcreationdate_utc", "transcriptcreationtime_utc",
        ),
        _ciq("wrds_transcript_detail"),
    ),
    "component": TableNeed(
        (
            "transcriptcomponentid", "transcriptid", "componentorder",
            "transcriptcomponenttypeid", "transcriptpersonid", "componenttext",
        ),
        _ciq("ciqtranscriptcomponent"),
    ),
    "person": TableNeed(
        (
            "transcriptid", "transcriptcomponentid", "transcriptcomponenttypename",
            "transcriptpersonid", "transcriptpersonname", "speakertypename",
        ),
        _ciq("wrds_transcript_person"),
    ),
    "gvkey": TableNeed(
        ("companyid", "gvkey", "startdate", "enddate"),
        _ciq("wrds_gvkey", "ciq_common"),
        optional="primaryflag",
    ),
    "link": TableNeed(
        ("gvkey", "linkprim", "liid", "linktype", "lpermno", "lpermco", "linkdt", "linkenddt"),
        tuple(
            f"{schema}.{table}"
            for table in ("ccmxpf_lnkhist", "ccmxpf_linktable")
            for schema in ("crsp", "crsp_m_ccm", "crsp_q_ccm", "crsp_a_ccm")
        ),
    ),
}  # fmt: skip
"""What discovery and fetch read. Never `ciqsamp_*` (a sample) or `*_old`."""

EVENT_TYPES = """
SELECT DISTINCT keydeveventtypeid::bigint, keydeveventtypename
FROM {detail}
WHERE mostimportantdateutc >= CAST(:start AS date)
  AND mostimportantdateutc < CAST(:after AS date)
  AND COALESCE(keydeveventtypeid = :type_id, false)
      <> COALESCE(keydeveventtypename = :type_name, false)
ORDER BY 1, 2
"""
"""Event types whose id and name disagree on what an earnings call is; no row when all is well.

An event that lacks its id or name is another event, unless what it has says earnings call."""

DISCOVERY = """
WITH considered AS (
    -- Every detail row of the events that have one in the range. The ids are doubles.
    SELECT companyid::bigint AS companyid, keydevid::bigint AS keydevid,
        transcriptid::bigint AS transcriptid, headline, companyname,
        mostimportantdateutc::date AS call_date,
        NULLIF(mostimportanttimeutc::time, TIME '00:00:00') AS call_time,
        transcriptcollectiontypename AS collection_type,
        transcriptpresentationtypename AS presentation_type,
        transcriptcreationdate_utc::date
            + COALESCE(transcriptcreationtime_utc::time, TIME '00:00:00') AS created
    FROM {detail}
    WHERE keydeveventtypeid = :type_id AND keydeveventtypename = :type_name
      AND companyid IS NOT NULL
      AND keydevid IN (
          SELECT keydevid FROM {detail}
          WHERE mostimportantdateutc >= CAST(:start AS date)
            AND mostimportantdateutc < CAST(:after AS date))
), told AS (
    SELECT *, transcriptid IS NOT NULL AND COALESCE(
        CAST(:as_of AS date) IS NULL OR created < CAST(:as_of AS date) + 1, false) AS known
    FROM considered
), dated AS (
    -- An event is dated by the newest version known at the as-of date, of those that have a date:
    -- so it lies in one quarter only, and what is learned later moves no date known before.
    SELECT *, first_value(call_date) OVER (PARTITION BY companyid, keydevid
        ORDER BY call_date IS NULL, known DESC, {newest}) AS event_date
    FROM told
), hours AS (
    SELECT *, CASE WHEN call_date = event_date THEN call_time END AS hour FROM dated
), timed AS (
    -- Its time is that of the newest version of this date that has one; the time of another date
    -- is no time, and one learned later none either.
    SELECT *, COALESCE(first_value(hour) OVER (PARTITION BY companyid, keydevid
        ORDER BY known DESC, hour IS NULL, {newest}), TIME '00:00:00') AS event_time
    FROM hours
), versions AS (
    -- One row per firm, event and version: several detail rows of one transcript (joint calls
    -- have several headlines) become one, that with the shortest headline.
    SELECT DISTINCT ON (companyid, keydevid, transcriptid) *
    FROM timed
    WHERE event_date >= CAST(:start AS date) AND event_date < CAST(:after AS date)
    ORDER BY companyid, keydevid, transcriptid, {newest}
), ranked AS (
    -- Versions in the order in which they represent their event: known, Final, latest.
    SELECT *,
        count(*) FILTER (WHERE known) OVER event AS n_versions,
        row_number() OVER (PARTITION BY companyid, keydevid
            ORDER BY known DESC, (presentation_type = 'Final') DESC NULLS LAST,
                created DESC NULLS LAST, transcriptid DESC) AS version_rank
    FROM versions
    WINDOW event AS (PARTITION BY companyid, keydevid)
), events AS (
    -- One row per firm and event; the first in `call_rank` represents the firm, which is one
    -- that nobody knew of only if the firm has no other.
    SELECT *,
        count(*) FILTER (WHERE known) OVER (PARTITION BY companyid) AS n_calls,
        row_number() OVER (PARTITION BY companyid
            ORDER BY known DESC,
                event_date {direction}, event_time {direction}, keydevid {direction}
        ) AS call_rank
    FROM ranked
    WHERE version_rank = 1
), links AS (
    SELECT e.companyid, e.keydevid, g.gvkey, l.lpermno::bigint AS permno,
        l.lpermco::bigint AS permco, l.liid, l.linktype, l.linkprim, l.linkdt, l.linkenddt,
        {primaryflag} AS is_primary,
        -- How far this candidate comes; the furthest says why the firm has no PERMNO.
        CASE
            WHEN g.gvkey IS NULL THEN 'no_gvkey'
            WHEN g.startdate > e.event_date OR g.enddate < e.event_date THEN 'gvkey_dates'
            WHEN l.lpermno IS NULL THEN 'no_link'
            WHEN l.linktype <> ALL (CAST(:linktypes AS text[])) OR l.linktype IS NULL
                OR l.linkprim NOT IN ('P', 'C') OR l.linkprim IS NULL THEN 'link_type'
            WHEN l.linkdt > e.event_date OR l.linkenddt < e.event_date THEN 'link_dates'
            ELSE 'valid'
        END AS outcome
    FROM events e
    LEFT JOIN {gvkey} g ON g.companyid = e.companyid AND g.gvkey IS NOT NULL
    LEFT JOIN {link} l ON l.gvkey = g.gvkey AND l.lpermno IS NOT NULL
), best AS (
    SELECT DISTINCT ON (companyid, keydevid) *
    FROM links
    ORDER BY companyid, keydevid,
        array_position(ARRAY[
            'valid', 'link_dates', 'link_type', 'no_link', 'gvkey_dates', 'no_gvkey'], outcome),
        is_primary DESC, (linkprim = 'P') DESC NULLS LAST, (linktype = 'LC') DESC NULLS LAST,
        (linktype = 'LU') DESC NULLS LAST, linkdt DESC NULLS LAST, permno,
        gvkey COLLATE "C", liid COLLATE "C", linkenddt DESC NULLS FIRST
), vintage AS (
    SELECT max(linkdt) AS newest_link FROM {link}
)
SELECT e.companyid::text AS firm_id, e.companyname AS firm_name, e.keydevid,
    CASE WHEN e.known THEN e.transcriptid::text END AS transcript_id, e.headline,
    e.event_date + e.event_time AS call_ts, e.event_time = TIME '00:00:00' AS time_missing,
    e.event_date AS earnings_call_date,
    CASE WHEN e.known THEN e.collection_type END AS collection_type,
    CASE WHEN e.known THEN e.presentation_type END AS presentation_type,
    CASE WHEN e.known THEN e.created END AS created_ts,
    e.n_versions, e.n_calls AS n_calls_in_quarter,
    CASE WHEN b.outcome NOT IN ('no_gvkey', 'gvkey_dates') THEN b.gvkey END AS gvkey,
    CASE WHEN b.outcome = 'valid' THEN b.permno END AS permno,
    CASE WHEN b.outcome = 'valid' THEN b.permco END AS permco, b.liid, b.linktype, b.linkprim,
    b.linkdt AS link_date, b.linkenddt AS link_end_date,
    CASE
        WHEN e.call_rank > 1 THEN 'other_call'
        WHEN NOT e.known THEN 'not_yet_known'
        WHEN e.presentation_type IS DISTINCT FROM 'Final' THEN 'preliminary_only'
        WHEN b.outcome = 'valid' THEN NULL
        WHEN b.outcome IN ('no_link', 'link_dates') AND e.event_date > v.newest_link
            THEN 'link_not_yet_published'
        ELSE b.outcome
    END AS reason
FROM events e
JOIN best b USING (companyid, keydevid)
CROSS JOIN vintage v
ORDER BY e.companyid::text COLLATE "C", call_ts, e.keydevid
"""
"""Every earnings call of a date range, the version that stands for it, its link, and whether it
represents its firm. The only place that decides this: fetch reads the transcripts named here."""

VINTAGE = "SELECT max(linkdt) FROM {link}"
"""The date of the newest link: how far the link table of this account reaches."""

TURNS = """
WITH wanted AS (
    SELECT transcriptid, n
    FROM unnest(CAST(:transcripts AS bigint[])) WITH ORDINALITY AS u (transcriptid, n)
), people AS (
    -- One row per component, whatever the view holds.
    SELECT DISTINCT ON (transcriptcomponentid)
        transcriptcomponentid::bigint AS transcriptcomponentid, transcriptcomponenttypename,
        transcriptpersonname, speakertypename
    FROM {person}
    WHERE transcriptid = ANY (CAST(:transcripts AS double precision[]))
    ORDER BY transcriptcomponentid, speakertypename COLLATE "C", transcriptpersonid,
        transcriptpersonname COLLATE "C"
), components AS (
    SELECT DISTINCT ON (transcriptcomponentid)
        transcriptid::bigint AS transcriptid,
        transcriptcomponentid::bigint AS transcriptcomponentid,
        componentorder, transcriptcomponenttypeid, transcriptpersonid, componenttext
    FROM {component}
    WHERE transcriptid = ANY (CAST(:transcripts AS bigint[]))
    ORDER BY transcriptcomponentid, componentorder, componenttext COLLATE "C"
)
SELECT w.n, c.componentorder::integer, c.transcriptcomponenttypeid::integer,
    p.transcriptcomponenttypename, c.transcriptpersonid::bigint::text, p.transcriptpersonname,
    p.speakertypename, c.componenttext
FROM wanted w
LEFT JOIN components c ON c.transcriptid = w.transcriptid
LEFT JOIN people p ON p.transcriptcomponentid = c.transcriptcomponentid
ORDER BY w.n, c.componentorder, c.transcriptcomponentid
"""
"""The speaker turns of transcripts, in the order asked for; one row of NULLs where there are none.
"""

_NEWEST = """created DESC NULLS LAST, transcriptid DESC,
            length(headline), headline COLLATE "C", companyname COLLATE "C", call_date, call_time"""
"""Detail rows of an event from its newest version to its oldest, to the last tie."""

_PRIMARY = "COALESCE(lower(g.primaryflag::text) IN ('1', '1.0', 't', 'true', 'y', 'p'), false)"


def discovery_sql(tables: Mapping[str, str], *, primaryflag: bool, latest: bool) -> str:
    """DISCOVERY on resolved tables; `primaryflag` says whether wrds_gvkey has that column."""
    return DISCOVERY.format(
        **tables,
        direction="DESC" if latest else "ASC",
        newest=_NEWEST,
        primaryflag=_PRIMARY if primaryflag else "false",
    )


def query_sha256(*statements: str) -> str:
    """A hash of the SQL text as sent, resolved table names included."""
    return hashlib.sha256("\n;\n".join(statements).encode()).hexdigest()
