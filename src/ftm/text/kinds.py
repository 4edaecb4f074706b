"""What a sentence is for, by rules on the text as spoken. Imports no spaCy: containers run this.

The rules prefer precision: a sentence that says something about the business is content, however
it begins, and whatever no rule recognises is content too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ftm.text.brackets import without_brackets
from ftm.text.conversation import manages_conversation
from ftm.text.lexicon import word_set

CONTENT, SAFE_HARBOR, GREETING, PROCEDURAL, NON_GAAP_NOTICE = (
    "content", "safe_harbor", "greeting", "procedural", "non_gaap_notice",
)  # fmt: skip

KINDS_VERSION = "4"
"""Raised with every change of the rules that changes a kind."""


def classify_kinds(raw_texts: Sequence[str], speaker_types: Sequence[str]) -> list[str]:
    """The kind of every sentence of one call.

    Args:
        raw_texts: the sentences as spoken, in order of position.
        speaker_types: who says each, as WRDS names them; the same length.

    Returns:
        One of `core.schemas.KINDS` a sentence; [] for no sentence.

    Raises:
        ValueError: the lengths differ.
    """
    if len(raw_texts) != len(speaker_types):
        raise ValueError(
            f"{len(raw_texts)} sentences but {len(speaker_types)} speaker types; expected as many"
        )
    pairs = zip(raw_texts, speaker_types, strict=True)
    return _fill_boilerplate([_kind(text, speaker) for text, speaker in pairs], raw_texts)


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


_FIGURE = re.compile(r"\d[.,]*+\s?(?:%|percent|million|billion|basis)|[$€£¥]\s?\d")
"""A figure: what has one reports something, unless it is legal boilerplate.

Its last digit is enough; from each of a million digits to their end would be quadratic.
"""

_FORWARD = re.compile(r"forward[- ]looking")
_FORWARD_WHAT = re.compile(
    r"statement|information|comment|remark|disclaimer|assumption|uncertaint|projection|discussed"
    r"|in nature"
)
_SAFE_HARBOR = _any(
    r"safe harbou?r",
    r"private securities litigation",
    r"(?:federal|applicable|u\.?s\.?|canadian) securities laws?",
    r"(?:results?|events?|performance|outcomes?|actual)\b.{0,60}\b(?:may|could|might|can|to|will)"
    r"\b.{0,40}\b(?:differ|vary|be (?:materially|significantly) different)\b",
    r"\b(?:undertakes?|assumes?|has|have|disclaims?|under|accepts?)\b.{0,30}\b"
    r"(?:obligations?|duty|intent|intention|responsibility)\b.{0,80}\b"
    r"(?:updat|revis|publicly|accuracy|supplement|correct)",
    r"\bundue reliance\b",
    r"\bnot (?:a )?guarantees? of future (?:performance|results)",
    r"\bcautionary (?:statement|language|note|factor|comment)",
    r"\brisk factors?\b.{0,100}\b(?:10-?[kq]|filing|filed|annual report|sec\b|section|prospectus)",
    r"\b(?:refer|see|review|consult|described|discussed|outlined|detailed|disclosed|found"
    r"|contained"
    r"|included|identified)\b.{0,120}\b(?:sec\b|10-?[kq]\b|securities and exchange commission"
    r"|regulatory filings|annual information form|20-?f\b)",
    r"\brisks?\b.{0,100}\b(?:sec\b|10-?[kq]\b|securities and exchange commission|20-?f\b)",
    r"\brisks and uncertainties\b.{0,100}\b(?:actual|include|refer|filing|described|statement)",
    r"\b(?:subject to|known and unknown|involves?|number of)\b.{0,60}\brisks and uncertainties\b",
    r"\b(?:views?|statements?|information|comments?)\b.{0,60}"
    r"\bas of (?:today'?s date|the date of this call|the date hereof)",
    r"\bno assurances? (?:that|can)\b.{0,80}\b(?:expectation|intention|plan|achiev|attain)",
    r"\bno representation or warranty\b",
)
_NON_GAAP = _any(
    r"\breconcil\w+\b.{0,160}\b(?:non-?gaap|gaap|ifrs|measures?|press release|earnings release"
    r"|web ?site|comparable|appendix|supplement|tables?)\b",
    r"\b(?:non-?gaap|gaap|ifrs|comparable)\b.{0,120}\breconcil",
    r"\bmost (?:directly )?comparable\b.{0,40}\b(?:gaap|ifrs|measure)",
    r"\b(?:refer|discuss|present|use|mention|talk|cite|disclos|report|include|provid)\w*\b.{0,80}"
    r"\bnon-?(?:gaap|ifrs)\b.{0,40}\b(?:measure|metric|result|financial|information|basis|number"
    r"|figure|term)",
    r"\bnon-?(?:gaap|ifrs)\b.{0,60}\b(?:measures?|metrics?|results?|information)\b.{0,80}\b(?:not "
    r"(?:intended|prepared|a substitute|be considered)|isolation|substitute|supplement|defin)",
    r"\bnon-?(?:gaap|ifrs) (?:financial )?(?:measures|metrics)\b.{0,60}\b(?:during|on|in) "
    r"(?:this|today'?s|the|our) (?:call|presentation|remarks)",
    # Transcribers lose the "non-": the notice is about measures all the same.
    r"\b(?:refer|reference|referring|discuss|discussion|use|include|mention)\w*\b.{0,40}"
    r"\b(?:gaap|ifrs) (?:financial )?(?:measures|metrics)\b",
    r"\b(?:calculations?|definitions?) of (?:\w+ ){0,2}(?:non-?)?(?:gaap|ifrs) measures\b",
    r"\b(?:together|conjunction) with (?:our |the )?(?:gaap|ifrs) results\b",
)

_THE_CALL = (
    r"(?:it|this|that|things|the (?:call|line|floor|conference|conference call|presentation|mic"
    r"|microphone|discussion|word|time|podium|webcast|program|meeting))"
)
_PROCEDURAL = _any(
    rf"\b(?:turn|hand|pass|transfer)(?:ing)? {_THE_CALL} (?:back |over |now |right )*to\b",
    r"\b(?:give|bring|yield)(?:ing)? the (?:call|floor|line|conference|word|podium) (?:\w+ )?to\b",
    rf"\b(?:turn|hand|pass)(?:ing)? (?:back |over )+{_THE_CALL}? ?to\b",
    r"\b(?:hand|pass)(?:ing)? over\b",
    r"\b(?:pass|throw) the (?:ball|word|question)\b|\bleave (?:it|that|this) to \w+ "
    r"(?:for|to (?:answer|explain|comment|take))\b",
    r"\b(?:tak(?:e|ing)|answer(?:ing)?) your (?:further |additional )?questions\b",
    r"\b(?:glad|happy|pleased) to (?:take|answer) (?:them|it|those|that|these)\b",
    r"\bquestions?\b.{0,20}\bplease contact\b",
    r"\b(?:discuss|cover|explain|address|elaborate|review|comment|talk)\b.{0,60}\b(?:later|shortly"
    r"|in a (?:moment|minute))\b(?: on)?(?: (?:in|on|during) (?:the|this|our|his|her|my) (?:call"
    r"|presentation|remarks))?[.]?$",
    r"\bwill follow (?:up )?with (?:an? |the |some )?(?:overview|review|update|summary|comments"
    r"|details?|discussion)\b",
    r"\b(?:get|go|dive|jump|move) (?:straight |right |directly )?(?:in)?to the (?:presentation"
    r"|slides|agenda|q&a|questions)\b",
    r"^(?:sorry,? |so |and )*(?:i (?:didn't|couldn't|did not|could not|can't) (?:hear|catch|get) "
    r"(?:you|that|it|the question|your question)|pardon(?: me)?|come again|say (?:it|that) again)"
    r"\b.{0,12}$",
    r"^(?:so |and |well |okay |now |yes )*,? ?(?:let me|i'll|i will) (?:reply|answer|take that|try"
    r"|work backwards|start|begin)[.!]?$",
    r"^(?:and |so |my |the |a )*(?:first|second|third|fourth|last|final|next) (?:comment|remark"
    r"|point|thing)[.:]?$",
    r"\b(?:call|line|webcast)\b.{0,40}\b(?:will be|are|is)\b.{0,80}\b(?:chief \w+ officer"
    r"|chief executive|chairman|vice president|general manager)\b",
    r"\b(?:over|back) to you\b",
    r"\b(?:now )?(?:like to|will|i'll|let me) (?:invite|introduce|welcome)\b.{0,60}"
    r"\b(?:ceo|cfo|chief|president|chairman|head of|officer)",
    r"\b(?:first|next|last|final|another|second|third|following|live)?,? ?questions?,? "
    r"(?:is |are |now |will |be |that |which |presented |asked |done |today |coming |comes? |goes "
    r")*(?:to us )?(?:by|from) (?:the )?(?:line|mr|ms|[a-z]+ [a-z]+ (?:at|from|of|with)\b)",
    r"\b(?:first|next|last|final) (?:one|question) (?:is|comes|will come)?,? ?from\b",
    r"\bnext question,? please\b|^(?:and )?next question\b.{0,6}$|^operator,",
    r"\b(?:open|opened|opening|move|turn|go|begin|start|ready|proceed|happy|glad|pleased|available"
    r"|pause|poll|stop|time)\b.{0,60}\b(?:for|to|with|up|the|your|any|take|answer|entertain) "
    r"(?:the |your |any |some |more |a few |additional |further |live |our |one more |another "
    r"|a final |one last |a last )*(?:q&a|q and a|questions?|queries)(?: session)?"
    r"(?:[.,?!]|$| at this| now| from| you| on| that| and| if| for)",
    r"\b(?:question[- ]and[- ]answer|q ?& ?a|q and a) (?:session|portion|period|section|part"
    r"|line)",
    r"\b(?:conclude[sd]?|completes?|ends?|that's the end of|wraps? up|close[sd]?)\b.{0,30}\b"
    r"(?:remarks|call|conference|presentation|q&a|q and a|session|webcast|comments|prepared)",
    r"\b(?:please )?go ahead(?: with your|,? (?:please|sir)|[.!?]?$)",
    r"\byour line is|\bpress(?:ing)? star|\bstar (?:one|1|then|key|zero)\b|\btelephone key ?pad",
    r"\b(?:can|could|do|are) you (?:guys |all |still )?hear (?:me|us)|\bon mute\b|\bi audible\b"
    r"|\byou(?:'re| are) audible|\bcan hear you\b|\bhear me (?:okay|ok|now|well|all right)",
    r"\b(?:replay|recording|archive|webcast|transcript|slides?|presentation|release|materials?"
    r"|copy|documents?|deck|report|results)\b.{0,90}\b(?:available|posted|accessed|found|download"
    r"|located|obtain)\w*\b.{0,60}\b(?:web ?site|online|webpage|until|through|ir\.|www|page|today"
    r"|section)",
    r"\b(?:call|conference|webcast|event|meeting) is (?:also )?being "
    r"(?:recorded|webcast|broadcast|simulcast|transcribed)",
    r"\bwww\.\w|\bdial(?:ing)?[- ]in (?:number|detail)",
    r"\b(?:on|joining|with)\b.{0,20}\b(?:call|line|me|us)\b.{0,30}\b(?:are|is|today|morning"
    r"|afternoon|evening)\b.{0,80}\b(?:ceo|cfo|coo|chief|president|chairman|head of|director of"
    r"|vice president|treasurer|officer|investor relations)",
    r"\bthat(?:'s| is| was) (?:all|it|everything) (?:from|for) (?:me|us|my|our|now|today)\b",
    r"\b(?:issued|released|announced|distributed|published|filed)\b.{0,80}"
    r"\b(?:press release|earnings release|news release)\b",
    r"\b(?:first|start|begin) with (?:your|the) (?:first|second|last|third|final) question",
    r"\boperator instructions\b|\bdrop (?:us|me) (?:a line|an email)"
    r"|\bback in(?:to)? (?:the )?queue\b|\bfollowing poll\b"
    r"|\bsubmit (?:your |a |any )?(?:question|poll)",
    r"\b(?:after|following) (?:our|the|my|these|today's) (?:prepared |opening |formal )*"
    r"(?:remarks|comments|presentations?)\b.{0,40}\b(?:questions|q&a|q and a)\b",
    r"(?:^|, )(?:i'll|i will) pass (?:it|that|this) (?:on|along)(?: to (?:him|her|them|the team))?"
    r"[.!]?$",
)
_ALSO_REPORTS = re.compile(
    r"\bbut\b.{0,30}\bwe (?:\w+ ){0,2}(?:expect|anticipate|believe|see|saw|foresee|forecast"
    r"|project"
    r"|plan|intend|continue|remain|grew|had)\b"
    r"|\b(?:start|begin|conclude|summarize)\b.{0,30}\bby (?:saying|noting|telling|mentioning)\b"
)
"""A sentence that hands over or announces, but also says what is expected or was seen."""
_ANNOUNCEMENT = _any(
    r"^(?:so |and |now |okay |yes |well |but |then |ok |anyway )*,? ?(?:first of all,? |first,? "
    r"|next,? )?(?:i'll|i will|"
    r"let me|let's|we'll|we will|i'd like to|i would like to|i want to) (?:now |just |first |then "
    r"|briefly |quickly |also )*(?:turn|move on|share|discuss|review|walk|start|begin|cover|touch"
    r"|provide|take you|take a look|pause|conclude|summarize|stop|comment|speak|switch|look)\b",
    r"^(?:so |and |now |okay |next )*,? ?(?:please )?(?:let's |let us )?(?:turn|turning|moving"
    r"|move"
    r"|go|going|referring|looking|now|refer|if you turn|continuing)\b.{0,20}"
    r"\b(?:slide|page|chart)\b",
    r"^(?:so |and )?(?:on )?(?:the )?(?:next )?(?:slide|page)(?: number)? [\w-]+,? ?"
    r"(?:shows?|we show|here|you (?:can )?see|sets out|summari|presents|gives|details)?",
    r"\bi(?:'ll| will)? (?:now )?conclude\b",
    r"\bnow (?:let me|i'll|i will|turning|moving)\b",
)
_QUESTION_ROUND = re.compile(
    r"\b(?:questions?|follow-?ups?|ones?|queries)\b(?!\s(?:mark|of|whether|about|around|on|related"
    r"|regarding|is on|is related|is about)\b)"
)
_ROUND_WORDS = word_set("kinds", "round")

_THANKED = (
    r"(?:your|the|taking|answering|joining|participating|attending|being|all|having|listening"
    r"|dialing|that|those|my|our|everyone|coming|giving|calling|letting|this|it|participation"
    r"|interest|support|time|including|making|hosting|continued|squeezing|bearing|sharing|doing)"
)
_TO_CLAUSE_END = r"[^.,;:?!]*"
_GREETING = _any(
    r"\bgood (?:morning|afternoon|evening)\b(?: or (?:morning|afternoon|evening))?",
    rf"\bthank(?:s|ing|ful)?\b(?: you| guys| a lot| very much| so much| again| everyone| everybody"
    rf"| all| sir| also| once)*(?:,? (?:very much|so much|again|a lot))?"
    rf"(?: (?:for|to) {_THANKED}\b{_TO_CLAUSE_END})?",
    rf"\b(?:i|we|let me|to|also|again|just)\b.{{0,40}}\bthank (?!you\b){_TO_CLAUSE_END}",
    rf"\b(?:for|to everyone|to all|everyone|everybody) (?:joining|taking|your continued|listening"
    rf"|dialing|participating|attending){_TO_CLAUSE_END}",
    rf"\bcongrat\w*\b(?: again| once more| once again)?"
    rf"(?:,? (?:on|to|for|guys|everyone|and){_TO_CLAUSE_END})?",
    rf"\bcongrats\b{_TO_CLAUSE_END}",
    rf"\b(?:we|i|you)?\s?(?:really |very much |do |also |certainly )?appreciate (?:it|that|you"
    rf"|you're|your|the (?:question|time|color|detail|help|opportunity|interest|comment"
    rf"|support))\b"
    rf"{_TO_CLAUSE_END}",
    rf"\bwelcome (?:you |everyone |everybody |all |back |again |each )*(?:of you )?(?:to|on|for)\b"
    rf"{_TO_CLAUSE_END}|\bwelcome\b(?: everyone| everybody| all| back)*",
    # A run of such words is begun at its first one only, or "a a a" would be quadratic.
    r"\b(?:that's |that is |it's |it is |is )?(?<!\ba )(?<!\ban )(?<!\bthis )(?<!\bvery )"
    r"(?<!\banother )(?<!\bsuch )(?:a |an |this |very |another |such )*(?:good|great"
    r"|excellent|fair|fantastic|interesting|very good|really good|terrific|super) (?:question"
    r"|point"
    r"|questions)\b",
    r"\b(?:that's|that is|that was|it's) (?:very |really |super |all |extremely |quite"
    r" )*(?:helpful"
    r"|clear|useful|perfect)\b|\bvery (?:helpful|clear)\b(?=[,.!]|$)",
    rf"\b(?:best wishes|best of luck|good luck|best regards|kind regards){_TO_CLAUSE_END}",
    rf"\b(?:have|enjoy|wish)\b.{{0,20}}\b(?:good|great|nice|wonderful|happy|safe|rest"
    rf"|lovely)\b.{{0,15}}"
    rf"\b(?:day|evening|morning|afternoon|weekend|week|holiday|holidays|season|summer|year"
    rf"|night)\b"
    rf"{_TO_CLAUSE_END}",
    rf"\blook(?:ing)? forward (?:to|for) (?:speaking|talking|seeing|updating|having|hearing"
    rf"|meeting"
    rf"|welcoming|catching|briefing|your|our next|the rest|connecting"
    rf"|interacting){_TO_CLAUSE_END}",
    rf"\b(?:see|talk to|speak to|speak with) you (?:soon|all|next|again|later|at|in)\b"
    rf"{_TO_CLAUSE_END}",
    rf"\b(?:happy|pleased|delighted|good|great|nice|pleasure|glad) (?:to )?(?:be (?:here|with"
    rf"|back)"
    rf"|have you|see(?:ing)? you|meet(?:ing)? you|speak(?:ing)? (?:to|with)|talk(?:ing)? (?:to"
    rf"|with)|hear (?:from you|your)){_TO_CLAUSE_END}",
    r"\bhope (?:that )?(?:you|everyone|everybody|all)\b.{0,40}\b(?:well|safe|healthy|good)\b",
    r"\bfor (?:those|these|that|the|your|all) (?:your |the )?(?:good |great |kind |very )*"
    r"(?:questions?|answers?|comments?|colou?r|details?|words|insights?|clarification)\b",
    r"\b(?:my name is|this is|i'm|i am)\b(?= )",
    r"\b(?:you bet|point taken|worth a (?:shot|try)|fair enough|my pleasure|not at all|happy"
    r" birthday)\b",
    r"\btake (?:very |good )*care\b|\bstay (?:safe|healthy|well)\b|\bgoodbye\b|\bbye\b|\bcheers\b"
    r"|\bhello\b|\bhi\b|\bhey\b",
)
_PLEASANTRY = re.compile(
    r"\b(?:thank|congrat|good|great|appreciate|welcome|helpful|clear|useful|perfect|fair|wishes"
    r"|luck"
    r"|regards|have a|enjoy|look|see you|talk to|speak|happy|pleased|delighted|nice|pleasure|glad"
    r"|hope|care|stay|bye|goodbye|cheers|hello|hi|hey|excellent|fantastic|interesting|terrific"
    r"|wish"
    r"|name|this is|i'm|i am|for those|for these|bet|taken|shot|enough)"
)
"""Cheap test: without one of these no pattern of a greeting can match."""
_PLEASANT_WORDS = word_set("kinds", "pleasant")
_WORD = re.compile(r"[^\W_][\w'&.-]*")


def _kind(text: str, speaker_type: str) -> str:
    spoken = without_brackets(text.replace("\u2019", "'"), {"[": "]", "(": ")"})
    lower = spoken.lower()
    analyst = speaker_type.strip().lower() == "analysts"
    if not analyst:
        if _is_safe_harbor(lower):
            return SAFE_HARBOR
        if _NON_GAAP.search(lower) and not _FIGURE.search(lower):
            return NON_GAAP_NOTICE
    if _FIGURE.search(lower):
        return CONTENT
    if _is_greeting(spoken):
        return GREETING
    if _is_procedural(lower) or manages_conversation(text, analyst=analyst):
        return PROCEDURAL
    return CONTENT


def _is_safe_harbor(lower: str) -> bool:
    if _FORWARD.search(lower) and _FORWARD_WHAT.search(lower):
        return True
    return bool(_SAFE_HARBOR.search(lower)) and not _FIGURE.search(lower)


def _is_greeting(spoken: str) -> bool:
    """Whether next to nothing is left once the pleasantries and the names are taken away."""
    lower = spoken.lower()
    if not _PLEASANTRY.search(lower):
        return False
    rest, n_found = _GREETING.subn(lambda match: " " * len(match[0]), lower)
    if not n_found:
        return False
    left = [
        match
        for match in _WORD.finditer(rest)
        if match[0].rstrip(".'") not in _PLEASANT_WORDS and not spoken[match.start()].isupper()
    ]
    return len(left) <= 1 and not any(match[0][0].isdigit() for match in left)


def _is_procedural(lower: str) -> bool:
    if _ALSO_REPORTS.search(lower):
        return False
    words = _WORD.findall(lower)
    if len(words) <= 45 and _PROCEDURAL.search(lower):
        return True
    if len(words) <= 14 and _ANNOUNCEMENT.search(lower):
        return True
    if len(words) > 20 or not _QUESTION_ROUND.search(lower):
        return False
    return sum(word.rstrip(".'") not in _ROUND_WORDS for word in words) <= 1


def _fill_boilerplate(kinds: list[str], raw_texts: Sequence[str]) -> list[str]:
    """Legal boilerplate goes on: what stands between two of its sentences belongs to it."""
    filled = list(kinds)
    for at in range(1, len(kinds) - 1):
        inside = kinds[at - 1] == kinds[at + 1] == SAFE_HARBOR
        if inside and kinds[at] == CONTENT and not _FIGURE.search(raw_texts[at]):
            filled[at] = SAFE_HARBOR
    return filled
