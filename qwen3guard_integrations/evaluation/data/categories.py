"""Other taxonomies' categories as Qwen3Guard's nine, where the names correspond.

The nine are those of the technical report (arXiv 2510.14276, section 2): weapons are Violent, drugs and hacking
Non-violent Illegal Acts; hate, insults, harassment, threats and defamation are Unethical Acts. A name that covers two
of the nine ("illegal and highly regulated items"), or none, has no entry: its rows stay without a category. The
choice is this project's; labels of severity do not depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ...core.verdict import Category
from .words import letters

_V, _I, _X = Category.VIOLENT, Category.NON_VIOLENT_ILLEGAL_ACTS, Category.SEXUAL_CONTENT
_P, _H, _E = Category.PII, Category.SUICIDE_AND_SELF_HARM, Category.UNETHICAL_ACTS
_T, _C = Category.POLITICALLY_SENSITIVE, Category.COPYRIGHT_VIOLATION


def _table(names: Mapping[str, Category]) -> Mapping[str, Category]:
    return MappingProxyType({letters(name): category for name, category in names.items()})


OPENAI: Final = _table({"S": _X, "S3": _X, "H": _E, "H2": _E, "HR": _E, "V": _V, "V2": _V, "SH": _H})
"""The columns of OpenAI's moderation data (github.com/openai/moderation-api-release)."""

AEGIS: Final = _table(
    {
        "Violence": _V,
        "Guns and Illegal Weapons": _V,
        "Sexual": _X,
        "Sexual (minor)": _X,
        "Controlled/Regulated Substances": _I,
        "Fraud/Deception": _I,
        "Malware": _I,
        "Illegal Activity": _I,
        "Suicide and Self Harm": _H,
        "PII/Privacy": _P,
        "Hate/Identity Hate": _E,
        "Harassment": _E,
        "Threat": _E,
        "Profanity": _E,
        "Manipulation": _E,
        "Immoral/Unethical": _E,
        "Political/Misinformation/Conspiracy": _T,
        "Copyright/Trademark/Plagiarism": _C,
    }
)
"""NVIDIA's taxonomy, in both versions of Aegis (data set cards of nvidia/Aegis-AI-Content-Safety-Dataset-*)."""

SIMPLE_SAFETY_TESTS: Final = _table(
    {
        "Suicide, Self-Harm, and Eating Disorders": _H,
        "Physical Harm and Violence": _V,
        "Physical Harm": _V,
        "Scams and Fraud": _I,
    }
)
"""Column `harm_area` (bertiev/SimpleSafetyTests)."""

HARMBENCH: Final = _table(
    {
        "chemical_biological": _V,
        "cybercrime_intrusion": _I,
        "illegal": _I,
        "harassment_bullying": _E,
        "copyright": _C,
    }
)
"""Column `SemanticCategory`, and "copyright" of `FunctionalCategory` (centerforaisafety/HarmBench)."""

WILDGUARD: Final = _table(
    {
        "violence_and_physical_harm": _V,
        "cyberattack": _I,
        "fraud_assisting_illegal_activities": _I,
        "sexual_content": _X,
        "private_information_individual": _P,
        "social_stereotypes_and_unfair_discrimination": _E,
        "toxic_language_hate_speech": _E,
        "defamation_encouraging_unethical_or_unsafe_actions": _E,
        "copyright_violations": _C,
    }
)
"""Column `subcategory` (allenai/wildguardmix)."""

BEAVERTAILS: Final = _table(
    {
        "violence,aiding_and_abetting,incitement": _V,
        "terrorism,organized_crime": _V,
        "financial_crime,property_crime,theft": _I,
        "sexually_explicit,adult_content": _X,
        "privacy_violation": _P,
        "self_harm": _H,
        "discrimination,stereotype,injustice": _E,
        "hate_speech,offensive_language": _E,
        "misinformation_regarding_ethics,laws_and_safety": _E,
        "non_violent_unethical_behavior": _E,
        "controversial_topics,politics": _T,
    }
)
"""The keys of column `category` (PKU-Alignment/BeaverTails)."""

SAFE_RLHF: Final = _table(
    {
        "Violence": _V,
        "Physical Harm": _V,
        "Drugs": _I,
        "Economic Crime": _I,
        "White-Collar Crime": _I,
        "Cybercrime": _I,
        "Sexual Content": _X,
        "Privacy Violation": _P,
        "Insulting Behavior": _E,
        "Discriminatory Behavior": _E,
        "Mental Manipulation": _E,
        "Copyright Issues": _C,
    }
)
"""The keys of columns `response_*_harm_category` (PKU-Alignment/PKU-SafeRLHF)."""

RTP_LX: Final = _table(
    {
        "Violence": _V,
        "SelfHarm": _H,
        "SexualContent": _X,
        "IdentityAttack": _E,
        "Bias": _E,
        "Microaggression": _E,
        "Insult": _E,
    }
)
"""The keys of column `PromptAnnotations` (microsoft/RTP-LX)."""

MLCOMMONS: Final = _table(
    {
        "S1": _V,
        "S2": _I,
        "S3": _X,
        "S4": _X,
        "S5": _E,
        "S7": _P,
        "S8": _C,
        "S9": _V,
        "S10": _E,
        "S11": _H,
        "S12": _X,
        "S13": _T,
    }
)
"""The MLCommons codes as Llama Guard 3 has them: columns `*_categories` of ToxicityPrompts/PolyGuardPrompts."""
