"""Sentences that manage the conversation: handing over, announcing, asking to say it again.

Every rule matches a whole sentence, from its first word to its last, once names and words like
"so" are off its ends: what is said beyond the hand-over makes it content. Names may be real ones
or the mark that a vendor puts in their place. Imports no spaCy: containers run this.
"""

from __future__ import annotations

import re

from ftm.text.brackets import without_brackets

_NAME_MARK = re.compile(r"\[indiscernible\]", re.IGNORECASE)
_SQUARE = str.maketrans("[]^", "   ")
_FILLER = re.compile(
    r"(?:so|and|but|now|okay|ok|yes|yeah|yep|no|well|right|again|then|also|actually|oh|listen"
    r"|first"
    r"|first of all|firstly|finally|lastly|secondly|next|maybe|all right|in fact|i think|with that"
    r"|this morning|today|at this (?:point|time)|i guess|you know|of course|in closing|as you know"
    r"|as usual|switching gears|before (?:we|i) begin|(?:i'm |i am )?sorry(?=,? \w)(?! to| for|"
    r" about)"
    r"|(?:it's|this is) someone(?=, )|someone(?= (?:let me|i'll|i|do you|you want)\b))"
    r"(?![\w'])[\s,]*(?:-+\s+)?",
    re.IGNORECASE,
)
_NAME_FIRST = re.compile(r"(?!I\b|If\b)[A-Z][\w'&-]*(?: [A-Z][\w'-]*)?,\s+")
_NAME_LAST = re.compile(r",\s*(?!I\b)[A-Z][\w'-]*$|, (?:I'm |I am )?sorry$")
_NAME_BETWEEN = re.compile(r", (?!I\b)[A-Z][\w'-]*(?=,)")
_MAX_WORDS = 32

_REPORTS = (
    "but|because|however|although|though|while|whereas|will|would|should|we'll|they'll|it'll|expect"
    "|expects|expected|grew|rose|fell|improved|declined|increased|decreased"
)
_STATES = "we|we're|we've|they|they're|it's|that's|is|are|was|were|has|had|seeing"
_VERB = "(?:is|are|was|were|has|had|have|remains?|continues?|grows?|falls?|rises?|looks?)"


def _tail(n_words: int, *, stops: str = f"{_REPORTS}|{_STATES}") -> str:
    """Up to so many more words, none of which begins a report."""
    clause = rf"(?:{stops})(?![\w'])|and (?:[\w'-]+ ){{0,4}}{_VERB}\b"
    return rf"(?:(?: -+)? (?!{clause})[\w'&/.%-]+){{0,{n_words}}}"


_OTHERS = rf"{_tail(14, stops=_REPORTS)}(?:,{_tail(8)})?"
"""After a hand-over to somebody: what they are to speak about may be a clause."""
_FEW, _SOME = _tail(4), _tail(13)

_SPEAK = (
    r"(?:answer(?:ing)?|address|comment|talk|speak|handle|take|cover|discuss|elaborate|respond"
    r"|expand|add|give|provide|explain|chime in|jump in|weigh in|pitch in|start|finish|help out"
    r"|go (?:through|over|first|ahead)|walk|make|describe|review|touch|update|follow up|fill"
    r"|have a (?:\w+ )?\w+ answer)"
)
_SOFT = (
    r"(?:(?:just|also|now|then|briefly|quickly|maybe|actually|again|first|kind of|at least|only"
    r"|please|perhaps|probably|certainly|directly|really|very) )*"
)
_MYSELF = (
    r"(?:let me|let's(?! focus| build| add| help| provide| comment)|allow me to|i(?:'ll| will)|i"
    r" can|i(?:'d| would)? (?:just )?like to"
    r"|i (?:just )?want(?:ed)? to|i(?:'m| am) going to|i(?:'m| am) happy to|happy to"
    r"|i(?:'d| would) be happy to)"
)
_I_WILL = (
    r"(?:i(?:'ll| will|'d| would|'m going to| am going to|'d like to| would like to| was going to"
    rf"| might| may)|let me|i just) {_SOFT}(?:like to )?{_SOFT}"
)
_WHO = r"(?:[\w'.&-]+,? ){1,8}?"
_A_PERSON = (
    r"(?!(?:to|the(?! team| guys| other)|a|an|some|any|more|that|this|no|as|it|much|enough|me|you"
    r"|customers|clients|investors|shareholders|market)\b)"
)
_ASK_OTHERS = (
    rf"(?:{_I_WILL}|we(?:'ll| will) {_SOFT})(?:(?:let|ask|invite) {_A_PERSON}{_WHO}"
    rf"|have {_A_PERSON}(?:(?!to\b)[\w'.&-]+,? ){{1,6}}?)(?:to )?"
)
_ABOUT = (
    r"(?:(?:as far as|in terms of|on|to|for|with|regarding|as for|as it relates to|about|during"
    r"|given)"
    r"(?: [^\s,]+){1,9}, )?"
)
_OBJECT = r"(?:that|this|it|those|these|them|both|each|all)"
_PART = r"(?:question|part|piece|one|half|point|portion|side|first|second|last|third)s?"
_ANSWER_VERBS = (
    rf"(?:(?:answer|address|take|field|tackle|handle|respond to|clarify)(?: {_OBJECT}(?! (?:as"
    rf"|down|into|away)\b)| (?:your|the)"
    rf" (?:[\w'-]+ ){{0,4}}{_PART}){_SOME}"
    rf"|(?:clarify|explain|elaborate|expand(?= on| a |$)|comment|jump in|respond|recap|go back"
    rf"|step back|back up"
    rf"|chime in|summarize|rephrase|start|begin|finish){_SOME}"
    rf"|(?:add(?: just)? (?:to (?:that|this|it|what|someone|your|his|her)|on\b|onto|something"
    r"|some (?:colou?r|context|detail)|(?:one|a|another)(?: \w+)*? (?:thing|point|comment"
    r"|dimension"
    rf"|note|colou?r|detail|observation|remark|thought)s?)|put (?:it|that|this)|build on"
    rf"|reiterate|repeat|restate|circle back|bridge back|follow up|touch on|highlight|talk about"
    rf"|walk (?:you|through)|go (?:through|over)|point out (?:that )?(?:a|one|two|few|some)"
    rf"|make (?:a|one|two|three|some|just)|give you|help you|provide (?:you|some|a|an)"
    rf"|speak to|get (?:started|back)|remind (?:you|everyone) of|untangle|pick up)\b{_SOME}"
    rf"|take (?:a|another) (?:shot|stab|crack|bite|try|swing){_SOME}"
    rf"|give it a (?:shot|try)|give (?:you )?(?:a little|some|a bit of|a few) [\w-]+{_SOME}"
    rf"|(?:review|discuss|cover|describe|deal with|move (?:on )?to|make (?:that|this)"
    rf" clear){_SOME}"
    r"|answer (?:as (?:much|best|well) as i can|you(?:,? too)?|a portion of that(?: question)?)"
    rf"|answer {_OBJECT}?(?:in )?(?:a couple of|two|three|several|a few)?(?: different)? ?ways?)"
)
_MY_ANSWER = rf"let me {_SOFT}(?:try to )?{_SOFT}(?:answer|address)\b{_SOME}"
_TRY = rf"(?:(?:try to|attempt to|see if i can|have to) )?{_SOFT}"
_HAND = rf"{_ASK_OTHERS}{_SOFT}(?:try to )?{_SPEAK}\b{_OTHERS}"
_OWN = rf"{_MYSELF} {_SOFT}{_TRY}{_ANSWER_VERBS}"
_PASS_ON = (
    r"(?:i(?:'ll| will|'m going to)|let me) (?:defer|kick|toss|turn|hand|pass|throw|leave|refer)"
    rf"(?: [\w'-]+){{0,6}} (?:over )?to\b{_OTHERS}"
)
_START = rf"i(?:'ll| will) (?:just )?(?:start|begin|go first|jump in){_SOME}"
_HAND_OVER = rf"(?:{_HAND}|{_OWN}|{_MY_ANSWER}|{_PASS_ON}|{_START})"

_YOU_SAY = (
    r"(?:(?:if |i don't know if |i don't know,? |maybe |perhaps |unless )?(?:do |did |would |if )?"
    r"(?:you|anyone|anybody|he|she)(?:'d| may| might| would)? (?:just )?(?:wants?|care|like) to"
    r"|(?:i don't know,? )?(?:do |did )?want to|why don't you|(?:maybe |perhaps )?you (?:can|could"
    r"|may|might)(?: want to)?|please)"
)
_ANY = r"(?:anything|something|nothing|any (?:other |additional |further )?(?:thoughts|comments?))"

_THEY = r"(?:someone|you|he|she|they|these guys|anybody|anyone|others)"
_HANDING = re.compile(
    rf"{_ABOUT}{_SOFT}{_HAND_OVER}"
    rf"(?:,? (?:and|then|and then|maybe),? (?:if |maybe |then )*(?:{_HAND_OVER}|let\b{_SOME}"
    rf"|(?:turn|toss|throw|hand|pass) (?:it|that) over\b{_SOME}"
    rf"|{_THEY},? (?:then )?(?:can|will|may|could|wants? to) (?:then )?(?:{_SPEAK}|add"
    rf" on)\b{_SOME}))*"
)
_PROMPT = re.compile(
    rf"{_YOU_SAY} {_SOFT}(?:comment|answer|handle|take (?:{_OBJECT}|the)|address|add|chime in|jump"
    rf" in"
    rf"|talk (?:about|a (?:little )?bit|more|to)|speak to|elaborate|start|go ahead|make|hit|field"
    rf"|cover|provide any|give)\b{_SOME}"
    rf"|(?:i don't know,? (?:if )?)?(?:is there |do you have )?{_ANY}(?: else)?(?: that)?,?"
    r"(?: (?:you|you'd|anyone|anybody)(?: else)?(?: would| might)?(?: want| wants| like| care|"
    r" have)?"
    rf")?(?: to add(?:{_FEW})?| on {_OBJECT}| there)"
    r"|(?:any|anyone|anybody)(?: else)? (?:closing|final|other|additional|further|wants?|care)"
    r"(?: to)?(?: add| comments?| remarks| thoughts)(?: on that| to that)?"
    r"|(?:why don't you )?(?:please )?go ahead(?: and)? (?:answer|take|address|comment|respond)"
    rf"{_FEW}"
    rf"|(?:maybe |perhaps |please )?(?:you )?(?:talk|comment|speak|touch) (?:a little bit )"
    rf"(?:about|on|to){_SOME}"
)
_CLOSING = re.compile(
    r"(?:i )?(?:hope|hopefully|does|trust|did)(?: that| this| it| i)*(?: at least)?(?:"
    r" [\w'-]+){0,3}?"
    r" (?:answers?|answered|addresse?d?s?)(?: all| both| part| a portion)?(?: of)? (?:your|the"
    r"|that)"
    rf"(?: (?:\w+ )?questions?)?{_FEW}"
    r"|(?:i )?(?:hope|hopefully|does)(?: that| this| it)*(?: clarifies| explains| helps?| makes"
    r" sense)(?: you| it| that| a bit| a little| out| some| at all| clarify| to)*"
    r"|(?:i )?(?:hope|hopefully)(?: that| this)*(?:'s| is| was) (?:responsive|not too long|a help"
    rf"|helpful){_FEW}{_FEW}"
    r"|that's the way (?:i was going to|i would|i'd) answer(?: it| that)?"
)
_AGAIN = re.compile(
    r"(?:i beg your pardon|(?:i'm |i am )?(?:so |very )?sorry(?: about that)?|pardon(?: me)?"
    r"|excuse me(?: for interrupting)?(?: you)?|(?:i'm |i am )?sorry (?:to|for) interrupt(?:ing)?"
    r"(?: you)?|i apologi[sz]e(?: for (?:that|the (?:confusion|interruption|delay)))?)"
    r"|you can't hear (?:me|him|her|us)"
    r"|(?:(?:i'm |i am )?sorry,? )?(?:(?:can|could|would) you(?: -+)?|would you mind|could we"
    r"|please)"
    r"(?: please| just| maybe)? (?:repeat|repeating|rephrase|restate|say|try|clarify)"
    r"(?: that| it| this| your question| the question| the \w+ part)*(?: again| once more"
    r"| for (?:me|us))?(?: please)?"
    r"|(?:(?:i'm |i am )?sorry,? )?(?:i|we) (?:really |just )?(?:didn't|did not|couldn't|could not"
    r"|don't|can't) (?:quite |really )?(?:hear|catch|follow|understand|get|remember) (?:you|that"
    r"|it"
    rf"|all of that|(?:the|your) (?:[\w-]+ )?(?:question|part|end|half|piece))(?:"
    rf" completely)?{_FEW}"
    r"|(?:i'm |i am )?(?:sorry,? )?i(?:'m| am) not sure (?:that )?i (?:quite |fully |really )?"
    r"(?:understand|understood|heard?|followed|follow|caught|got)(?: you| that(?: one)?| it|"
    r" (?:the|your)"
    r"(?: \w+)?(?: question| part)?)?"
    r"|(?:let me|let's|i want to|i just want to) (?:just )?(?:make sure|be sure) (?:that )?(?:i"
    r"|i'm"
    rf"|we)(?: am)? (?:understand|understood|heard?|clear|get|got|answer)\b{_SOME}"
    r"|(?:(?:i'm |i am )?sorry,? )?you(?:'re| are) (?:coming in|breaking up|cutting out|fading"
    r"|very"
    rf" (?:faint|weak)|hard to hear){_FEW}"
    rf"|(?:(?:i'm |i am )?sorry,? )?(?:you|it) (?:cut|tailed|broke|faded|dropped) (?:off|out|up)"
    rf"(?: (?:on|in|at|for|there|towards|a (?:little|bit)){_tail(8)})?"
    rf"|what (?:do|did) you (?:mean|say)\b{_FEW}|did you (?:hear|catch|get) (?:that|it|the){_FEW}"
    rf"|(?:i|we) (?:had|have|am having|are having|'m having) (?:a (?:little |bit of )*)?(?:trouble"
    rf"|difficulty) hearing{_FEW}|it(?:'s| is) hard to hear(?: you)?"
    rf"|i missed (?:that|the|your)(?: \w+)? ?(?:question|part|piece|end)?|is that (?:right"
    rf"|correct)"
)
_NO_COMMENT = re.compile(
    r"(?:i|we)(?: really| just)* (?:don't|do not|won't|can't|wouldn't|have)(?: think (?:i|we))?"
    r"(?: really)?(?: have)? (?:anything|nothing|much|any more|no|any)(?: else| new| further"
    r"| additional| more| comments?)*(?: to (?:add|say|comment))?(?: beyond that| to that| on that"
    r"| on this| there| here| about that| at this (?:time|point|stage))*(?<!\bno)(?<!\bany)"
    r"|(?:i don't (?:know|think) (?:that )?)?there(?:'s| is)(?: not| too)* (?:much|anything"
    r"|nothing)"
    r"(?: more| else| new)* (?:that )?(?:i can|we can|to) add\b(?: [\w',-]+){0,10}"
    r"|like i said,? (?:you know,? )?(?:i|we)(?:'re| are|'m| am) (?:just )?not going to"
    r"(?: make any(?: more)?)? comments?(?: on that| at this (?:time|point))*"
    r"|(?:i'm |i am )?(?:sorry,? )?(?:but )?i(?: really| just| honestly)* (?:don't|do not) have"
    r" (?:the"
    r"|an|a good|that) answer(?: for that| to that| for you)*"
    r"|i (?:don't|do not) (?:have|recall|remember|know) (?:that|the|those|it|them|all those)?"
    r" ?(?:[\w-]+ )?(?:numbers?|figures?|data|details?|breakdown)? ?(?:right )?(?:handy|off"
    r" ?-?hand"
    r"|in front of me|at hand|with me|off the top of my head)"
)
_INTRO = re.compile(
    r"(?:i'm|i am|we're|we are) (?:also )?(?:pleased |happy |delighted )?(?:to be )?(?:joined"
    r"|accompanied) (?:here )?(?:(?:today|this \w+|on (?:the|today's) call|on the line|in the"
    r" room)"
    r"\b[^;:]*|(?:by|with)\b(?=[^;:]*\Z)[^;:]*\b(?:officer|cfo|ceo|coo|chief|president|chairman|treasurer)\b"
    r"[^;:]*)"
    r"|(?:then )?we(?:'ll| will)\b(?: [\w',&-]+){0,16} (?:and|then) (?:answer|take|wrap-?up with)"
    r" (?:a"
    r" few|some|your|any)(?: of your)? questions(?: [\w'-]+){0,9}"
    r"|if (?:you|we|there|your)\b(?: [\w'-]+){1,5} questions?(?: [\w'-]+){0,6}, (?:please |just )*"
    r"(?:feel free|give (?:me|us)|contact|call|e-?mail|let (?:me|us) know|reach out|(?:don't|do"
    r" not) hesitate"
    r"|we are (?:in the office|available|here))(?: [\w'-]+){0,9}"
    r"|i(?:'ll| will) be available (?:[\w'-]+ ){0,5}[^;:]{0,30}to (?:answer"
    r"|take)[^;:]{0,30}(?:calls"
    r"|questions)"
    rf"|(?:i have|there are|just) (?:just )?(?:a couple|a few|one|two|three|some)(?: of)?(?: \w+)?"
    rf"(?: quick| other| additional| closing)* (?:comments?|points?|remarks|things){_SOME}"
    rf"|(?:just )?(?:a few|some|a couple of|one|two|three)(?: quick| brief| final| other|"
    rf" additional"
    rf"| closing| general)* (?:comments|remarks|words|notes|thoughts) (?:on|about"
    rf"|regarding){_SOME}"
)
_WRITE_TO_US = re.compile(
    r"(?:[\w'-]+,? ){0,12}if (?:you|anyone|anybody) (?:have|has) any (?:(?:other|additional"
    r"|further"
    r"|more|follow-up) )?questions?"
    r"|(?:any|for any) (?:other|additional|further|more|follow-up) questions?, (?:please"
    r" )?(?:don't"
    r"|do not|feel free|call|contact|reach out|let us know)(?: [\w'-]+){0,12}"
)
_SOMEONE_WILL = re.compile(
    r"(?:following this, |after that, |but first, )?someone(?: and someone)?(?:,(?!"
    r" will)[^;:]{3,80},)? "
    r"(?:will|is going to|'s going to) (?:then |now |also )*(?:return|join|jump in|kick us off"
    r"|lead"
    rf"|{_SPEAK})\b{_OTHERS}"
)
_YES_SURE = re.compile(r"(?:sure|no problem)(?:,? (?:sure|no problem|of course|thing))*")
_RULES = (
    _HANDING,
    _PROMPT,
    _CLOSING,
    _AGAIN,
    _NO_COMMENT,
    _INTRO,
    _WRITE_TO_US,
    _SOMEONE_WILL,
    _YES_SURE,
)
_ANALYST_RULES = (_CLOSING, _AGAIN)


def manages_conversation(text: str, *, analyst: bool) -> bool:
    """Whether a sentence does nothing but manage the conversation.

    Args:
        text: as spoken, marks included.
        analyst: whether an analyst says it; "talk a little bit about pricing" is then a question
            about the business, not a hand-over.
    """
    if len(text.split()) > _MAX_WORDS:
        return False
    bare, named = _bare(text)
    rules = _ANALYST_RULES if analyst else _RULES
    return any(rule.fullmatch(form) for form in {bare, named} for rule in rules)


def _bare(text: str) -> tuple[str, str]:
    """A sentence without the words and names around it, and the same with the name it opens with.

    Returns:
        Two texts in lower case, without the points at the end; a marked name is "someone".
    """
    text = _NAME_MARK.sub(" Someone", text.replace("\u2019", "'"))
    spoken = without_brackets(text, {"(": ")"}).translate(_SQUARE)
    text = " ".join(spoken.split()).replace(" ,", ",").replace("Someone '", "'")
    end = _NAME_LAST.sub("", text.rstrip(".?!- "))
    named = _without_start(end, names=False)
    bare = _NAME_BETWEEN.sub("", _without_start(named, names=True))
    return _without_start(bare, names=False).lower(), named.lower()


def _without_start(text: str, *, names: bool) -> str:
    at = 0
    while found := (_FILLER.match(text, at) or (_NAME_FIRST.match(text, at) if names else None)):
        at = found.end()
    return text[at:]
