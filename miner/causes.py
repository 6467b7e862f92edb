"""The mechanisms a hypothesis can rest on: what the literature says moves prices."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mechanism:
    """A cause known from the literature, the fields that carry it and what follows from it.

    Parameters
    ----------
    name : str
        What it is called; it speaks of its subjects.
    fields : frozenset of str
        The fields an expression of it may read.
    windows : tuple of int
        Windows in sessions that suit it.
    observation, knowledge, justification : str
        Of its hypotheses.
    forms : tuple of str
        Expressions of it, to start from; their numbers above 2 are windows to be changed.
    subjects : tuple of str
        Concepts (`miner.concepts`) that an expression of it has to show (`miner.traits`).
    direction : int
        Sign of the RankIC the literature expects of its quantity, 0 where it is divided.
    expects : str
        The same for people: "illiquid assets earn more"; empty where `direction` is 0.
    source : str
        Where it is from.
    """

    name: str
    fields: frozenset[str]
    windows: tuple[int, ...]
    observation: str
    knowledge: str
    justification: str
    forms: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    direction: int = 0
    expects: str = ""
    source: str = ""


_SHORT = (2, 3, 5, 10, 20)
_MIDDLE = (5, 10, 20, 40, 60)
_LONG = (20, 30, 40, 60)
_ANY = (2, 3, 5, 10, 20, 30, 40, 60)

_BAR = frozenset({"open", "high", "low", "close"})
_PRICES = _BAR | {"vwap"}
_ACTIVITY = frozenset({"volume", "amount"})

_IMMEDIACY = "Immediacy has to be paid for in every session."
_SEPARATES = "Volume separates trading for information from trading for liquidity."

#: From special to general: an expression belongs to the first whose subjects it shows and whose
#: fields hold all it reads.
MECHANISMS: tuple[Mechanism, ...] = (
    Mechanism(
        "liquidity",
        frozenset({"high", "low", "close"}) | _ACTIVITY,
        _MIDDLE,
        "Some prices move far on little volume, others hardly move on much.",
        "If a move takes little volume, then the asset is illiquid, and its holders are paid for "
        "it.",
        "Whoever has to sell pays for the price impact, in every session anew.",
        forms=(
            "TS_MEAN(ABS(TS_PCTCHANGE($close, 1)) / ($volume / TS_MEAN($volume, 20)), 10)",
            "TS_MEAN(($high - $low) / $close / ($volume / TS_MEAN($volume, 40)), 5)",
        ),
        subjects=("liquidity",),
        direction=1,
        expects="illiquid assets earn more",
        source="Amihud (2002), Illiquidity and stock returns, JFM 5",
    ),
    Mechanism(
        "divergence of price and volume",
        _PRICES | _ACTIVITY,
        _MIDDLE,
        "Price and volume part ways: one rises among the assets and the other does not.",
        "If a price moves and volume does not follow, then few have agreed to the move.",
        _SEPARATES,
        forms=(
            "TS_RANK($close, 20) - TS_RANK($volume, 20)",
            "RANK(TS_PCTCHANGE($close, 5)) - RANK(TS_PCTCHANGE($volume, 5))",
        ),
        subjects=("price with volume", "divergence"),
        source="Lee and Swaminathan (2000), Price momentum and trading volume, JF 55",
    ),
    Mechanism(
        "price and volume",
        _PRICES | _ACTIVITY,
        _MIDDLE,
        "In some assets price and volume move together, in others they do not: a correlation.",
        "If price and volume move together, then the move was bought by the impatient and is given "
        "back in part.",
        _SEPARATES,
        forms=(
            "TS_CORR(TS_PCTCHANGE($close, 1), TS_PCTCHANGE($volume, 1), 20)",
            "TS_CORR($high - $low, $volume, 10)",
        ),
        subjects=("price with volume", "correlation"),
        direction=-1,
        expects="assets whose price rises on volume earn less",
        source="Llorente, Michaely, Saar, Wang (2002), Dynamic volume-return relation, RFS 15",
    ),
    Mechanism(
        "overnight and intraday",
        frozenset({"open", "close"}),
        _SHORT,
        "Prices set overnight and prices set intraday are made by different investors.",
        "If the overnight move and the intraday move of an asset disagree, then the clientele that "
        "pushed too far is corrected.",
        "Clienteles that trade at the open and at the close persist.",
        forms=(
            "TS_MEAN($open / DELAY($close, 1), 10) - TS_MEAN($close / $open, 10)",
            "TS_CORR($open / DELAY($close, 1), $close / $open, 20)",
        ),
        subjects=("overnight", "intraday"),
        source="Lou, Polk, Skouras (2019), A tug of war, JFE 134",
    ),
    Mechanism(
        "overnight move",
        frozenset({"open", "close"}),
        _SHORT,
        "Prices open away from the close before.",
        "If an asset opens far from its last close, then those who could not wait for the session "
        "have set the price.",
        "News arrives overnight, and attention at the open is crowded.",
        forms=(
            "TS_MEAN($open / DELAY($close, 1), 10)",
            "TS_STD($open / DELAY($close, 1), 20)",
        ),
        subjects=("overnight",),
        source="Berkman, Koch, Tuttle, Zhang (2012), Paying attention, JFQA 47",
    ),
    Mechanism(
        "position in the range",
        frozenset({"high", "low", "close"}),
        _SHORT,
        "Where the close stands between the extremes of a span shows who was in a hurry.",
        "If the close stands near an extreme, then the pressure that carried it there is partly "
        "transient.",
        _IMMEDIACY,
        forms=(
            "TS_MEAN(($close - $low) / ($high - $low), 10)",
            "($close - TS_MIN($low, 10)) / (TS_MAX($high, 10) - TS_MIN($low, 10))",
        ),
        subjects=("position",),
        direction=-1,
        expects="assets that close near their high earn less",
        source="Kaniel, Saar, Titman (2008), Individual investor trading and stock returns, JF 63",
    ),
    Mechanism(
        "intraday move",
        frozenset({"open", "close"}),
        _SHORT,
        "Prices close away from where they opened.",
        "If an asset moved far within the session, then part of the move was pressure and is given "
        "back.",
        _IMMEDIACY,
        forms=(
            "TS_MEAN($close / $open, 5)",
            "DECAYLINEAR(($close - $open) / $open, 10)",
        ),
        subjects=("intraday",),
        direction=-1,
        expects="assets that rise intraday earn less",
        source="Lou, Polk, Skouras (2019), A tug of war, JFE 134",
    ),
    Mechanism(
        "lottery",
        _BAR,
        _LONG,
        "Assets with one extreme gain in a span do badly after it.",
        "If the best day of a span was extreme, then the asset looks like a lottery and is dear.",
        "A preference for lotteries does not go away, and short sales are limited.",
        forms=(
            "TS_MAX(TS_PCTCHANGE($close, 1), 20)",
            "TS_SKEW($close / $open, 40)",
        ),
        subjects=("lottery",),
        direction=-1,
        expects="assets with an extreme gain earn less",
        source="Bali, Cakici, Whitelaw (2011), Maxing out, JFE 99",
    ),
    Mechanism(
        "variation of turnover",
        _ACTIVITY,
        _MIDDLE,
        "Assets whose trading comes in bursts earn less.",
        "If volume is unsteady, then trading follows attention rather than information.",
        "Attention is scarce, and who follows it pays.",
        forms=(
            "TS_STD($volume, 20) / TS_MEAN($volume, 20)",
            "TS_STD(TS_PCTCHANGE($volume, 1), 20)",
        ),
        subjects=("activity", "volatility"),
        direction=-1,
        expects="assets of unsteady volume earn less",
        source="Chordia, Subrahmanyam, Anshuman (2001), Trading activity and returns, JFE 59",
    ),
    Mechanism(
        "volatility",
        _BAR,
        _MIDDLE,
        "Volatile assets earn less than calm ones.",
        "If an asset was volatile lately, then it is held by those who overpay for its tails.",
        "Leverage constraints and a preference for lotteries persist.",
        forms=(
            "TS_STD(TS_PCTCHANGE($close, 1), 20)",
            "TS_MAD(TS_PCTCHANGE($close, 1), 20)",
        ),
        subjects=("volatility",),
        direction=-1,
        expects="volatile assets earn less",
        source="Ang, Hodrick, Xing, Zhang (2006), The cross-section of volatility, JF 61",
    ),
    Mechanism(
        "width of the range",
        _BAR,
        _ANY,
        "The range of the bars says how contested a price was.",
        "If ranges are wide, then opinions differ, and those who think most of an asset hold it.",
        "Disagreement with constrained short sales is priced.",
        forms=(
            "TS_MEAN(($high - $low) / $close, 10)",
            "TS_MEAN($high / $low, 5) / TS_MEAN($high / $low, 40)",
        ),
        subjects=("range",),
        direction=-1,
        expects="assets of wide ranges earn less",
        source="Miller (1977), Risk, uncertainty and divergence of opinion, JF 32",
    ),
    Mechanism(
        "momentum",
        frozenset({"close"}),
        _LONG,
        "The winners of some months go on winning.",
        "If an asset rose over a quarter, then news about it is still being absorbed.",
        "Information diffuses slowly among investors who watch few assets.",
        forms=(
            "TS_PCTCHANGE($close, 60)",
            "DELAY($close, 20) / DELAY($close, 60)",
        ),
        subjects=("momentum",),
        direction=1,
        expects="past winners earn more",
        source="Jegadeesh and Titman (1993), Returns to buying winners, JF 48",
    ),
    Mechanism(
        "reversal",
        frozenset({"close"}),
        _SHORT,
        "Assets that fell over some days tend to recover, and the contrary.",
        "If a price has gone far over a short span, then liquidity providers are paid to take the "
        "other side.",
        "Limited risk-bearing capacity does not vanish with one trade.",
        forms=(
            "TS_PCTCHANGE($close, 5)",
            "DELTA($close, 5) / TS_STD($close, 20)",
        ),
        subjects=("reversal",),
        direction=-1,
        expects="the winners of a short span earn less",
        source="Jegadeesh (1990), Evidence of predictable behavior, JF 45; Lehmann (1990), QJE 105",
    ),
    Mechanism(
        "trend",
        _BAR,
        _ANY,
        "Prices stand above or below the path they have come along.",
        "If a price has left its moving average, then it goes on where news is absorbed, and comes "
        "back where it was pushed.",
        "Slow diffusion of information and limited risk-bearing capacity persist.",
        forms=(
            "$close / TS_MEAN($close, 20)",
            "TS_MEAN($close, 5) / TS_MEAN($close, 40)",
        ),
        subjects=("trend",),
        source="Han, Zhou, Zhu (2016), A trend factor, JFE 122",
    ),
    Mechanism(
        "bar shape",
        _PRICES,
        _ANY,
        "The shape of the bar, its body and shadows, says who gave way in a session.",
        "If bodies or shadows are long against their own past, then one side was in a hurry.",
        _IMMEDIACY,
        forms=(
            "TS_MEAN(($high - MAX($open, $close)) / $close, 10)",
            "TS_MEAN((MIN($open, $close) - $low) / $close, 10)",
        ),
        subjects=("bar shape",),
        source="Marshall, Young, Rose (2006), Candlestick technical trading strategies, JBF 30",
    ),
    Mechanism(
        "turnover",
        _ACTIVITY,
        _MIDDLE,
        "Trading activity departs from its own norm.",
        "If activity of an asset is unusually high or low, then attention or disagreement has "
        "changed.",
        "Attention is scarce and disagreement with constrained short sales is priced.",
        forms=(
            "$volume / TS_MEAN($volume, 20)",
            "TS_RANK($volume, 40)",
        ),
        subjects=("activity",),
        source="Gervais, Kaniel, Mingelgrin (2001), The high-volume return premium, JF 56",
    ),
    Mechanism(
        "price moves and volume",
        _PRICES | _ACTIVITY,
        _ANY,
        "Price moves on heavy volume and on light volume are continued differently.",
        "If a price moves on much volume, then either news or a demand for liquidity is behind it.",
        _SEPARATES,
        forms=(
            "TS_MEAN(TS_PCTCHANGE($close, 1) * ($volume / TS_MEAN($volume, 20)), 5)",
            "$close / TS_MEAN($close, 10) * TS_RANK($volume, 20)",
        ),
        subjects=("price", "activity"),
        source="Campbell, Grossman, Wang (1993), Trading volume and serial correlation, QJE 108",
    ),
    Mechanism(
        "price path",
        _PRICES,
        _ANY,
        "Prices move away from their recent path and come back, or go on.",
        "If a price has gone far over a short span, then liquidity providers are paid to take the "
        "other side; over a long span information is absorbed slowly.",
        "Limited risk-bearing capacity and slow diffusion of information do not vanish with one "
        "trade.",
        forms=(
            "TS_ZSCORE($close, 20)",
            "TS_CORR($open, $low, 20)",
        ),
        subjects=("price",),
        source="Lo and MacKinlay (1990), When are contrarian profits due to overreaction, RFS 3",
    ),
)
