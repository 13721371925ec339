//! The invented symbols of the demo market, the most traded first. Any likeness to a listed
//! company is chance.

const LISTED: &str = "\
    ACME ORBT NOVA KITE FLUX ZEPH LUMN PIXL TERA VOLT HELX QBIT AERO RUNE WAVE ONYX EMBR GLXY \
    ALTO AMBR ANVL APEX AQUA ARBR ARCO ARGO ARIA ASHN ASPN ASTR ATLS ATOM AURA AXON AZUR BALM \
    BASL BAYO BEAM BELL BERG BIRC BLOM BLUE BOLT BOND BORA BRCK BREZ BRIO BRNZ BRSK CALM CANO \
    CARB CASC CEDR CELO CHIM CHRD CIRC CITR CLAY CLEF CLIF CLVR COBA COMT CORL COVE CRAN CRES \
    CRST CRYS CURV CYAN CYGN DAWN DELT DENM DERB DOVE DRFT DUNE DUSK EAGL EBON ECHO EDEN ELAN \
    ELMW EPOC EQNX ETHR EVRG FABL FALC FARO FERN FINC FJRD FLAX FLEX FLNT FLOW FOIL FONT FORG \
    FORT FRST GALE GARN GENI GLEN GLID GLOW GOLD GRAN GRID GROV GUST GYRO HALO HARB HARP HAVN \
    HAZL HERN HIVE HOLM HUES ICON IGLO INDI INKW IONS IRIS ISLE IVRY JADE JAZZ JUNE JUNO KELP \
    KILN KNOT KOIS LACE LAGO LAKE LARK LATT LAVA LEAF LEVR LIME LINN LION LOFT LOOM LOTS LUNA \
    LYNX LYRA MAGN MANA MAPL MARB MEAD MERC MESA METR MINT MIRA MIST MOCH MOSS MOTO MUSE MYRT \
    NAVY NEBL NECT NEON NEST NICK NODE NORD NOTE OAKS OASI OCEA OCTA OLIV OMNI OPAL OPUS ORCH \
    OSPR OTTR OVAL PALM PEAR PEBL PERL PINE PLUM POLR POND POPL PORT PRSM PULS QUAR QUIL QUIN \
    RAIN RAPT RAVN REED REEF RIDG RILL RIVR ROBN ROCK ROSE ROWN RUBY SAGE SAIL SALT SAND SAPH \
    SCAR SEQA SHOR SILK SILV SLAT SNOW SOLR SONR SPAN SPRK SPRU STAR STEL STON STRM SUMM SWAN \
    SWFT TEAL TERN THYM TIDE TIMB TOPZ TRCE TREL TRIO TUND TURB TWIL ULTR UMBR UNIO URSA VALE \
    VAST VEGA VELA VERD VIOL VIRG VISTA VITA VIVO WADE WALN WEST WILO WIND WISP WREN XENO YARW \
    YEWT ZENI ZEST ZINC ZIRC ZONE ZULU ABBY ADEN \
    ALBA AMIR ARDN AVON BALT BASS BRAY CAPE CAST COSM CUBE DALE DART DOME DYNE ELBA FIRM FLOE GATE \
    GEMS HART HELM";

/// The first `count` symbols by activity, all different. Past the list's end the names begin
/// anew with a number behind them.
pub(super) fn names(count: usize) -> impl Iterator<Item = String> {
    let listed = LISTED.split_ascii_whitespace();
    (1usize..)
        .flat_map(move |round| listed.clone().map(move |name| (round, name)))
        .map(|(round, name)| if round == 1 { name.to_owned() } else { format!("{name}{round}") })
        .take(count)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_are_single_topic_levels() {
        let all: Vec<String> = names(2_000).collect();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 2_000);
        assert!(all.iter().all(|name| name.bytes().all(|b| b.is_ascii_alphanumeric())));
    }

    #[test]
    fn the_list_alone_serves_the_usual_few_hundred() {
        assert!(names(300).all(|name| name.bytes().all(|b| b.is_ascii_uppercase())));
    }
}
