"""What can be found in the realistic form: kinds with tissue, signal, place, age and frequency, and the sites.

As in the simple form, signals are against the tissue around and follow from the MR properties through the signal
equations (a test checks it at both fields). Sources of the directions are those of the simple form where the kind is
there too; the others stand beside the kind. Relaxation times, uptake and dephasing of lesions are ours, chosen so that
the directions hold.
"""

from dataclasses import dataclass

from ..contrast import Tissue
from ..findings import DEEP, LOBES, WHITE, LesionKind, Site
from ..findings import KINDS as SIMPLE_KINDS
from ..findings import SITES as SIMPLE_SITES

SITES: dict[str, Site] = SIMPLE_SITES | {
    site.term: site
    for site in (
        Site("internal capsule", (22.0, -12.0, 10.0), 1.5, True),
        Site("hippocampus", (28.0, -22.0, -14.0), 1.5),
        Site("midbrain", (9.0, -20.0, -10.0), 1.0),
        # Not in brain tissue: a direction from the middle of the brain to the dura, a sinus, or all of a brain.
        Site("middle cranial fossa", (46.0, 14.0, -32.0), 2.0),
        Site("subdural space", (48.0, -10.0, 40.0), 6.0),
        Site("maxillary sinus", (24.0, 50.0, -57.0), 1.5),
        Site("ventricles", (0.0, -20.0, 12.0), 0.0),
        Site("brain", (0.0, -18.0, 8.0), 0.0),
    )
}

BRAIN_SITES = (*SIMPLE_SITES, "internal capsule", "hippocampus", "midbrain")
LACUNE_SITES = (*DEEP, "pons", "centrum semiovale", "corona radiata", "internal capsule", "midbrain")
DEEP_HAEMORRHAGE_SITES = ("basal ganglia", "thalamus", "pons", "cerebellar hemisphere")


@dataclass(frozen=True)
class Kind(LesionKind):
    """A kind of the realistic form.

    Args:
        place: how its geometry is made: brain (blobs at the site), scatter (many blobs over both sides), dots (few
            small ones around the site), dura (on the inside of the skull), subdural (a crescent there), sinus, and
            mucosa, ventricles, sulci (the head itself changes, there is no lesion).
        ages: youngest and oldest age at which it is usual; it is ten times as rare outside.
        grows_with_age: its frequency rises from 0 to twice the usual between these ages as well.
        asks_for: sequences that the question behind such a study asks for.
        needs: sequences without which it cannot be seen at all.
        key: sequences of which one must be there for a certain statement.
        halo_mm: smallest and largest width of oedema around it, a finding of its own.
        is_incidental: it is found on the way and never what was looked for.
        grades: severity words that apply.
    """

    place: str = "brain"
    ages: tuple[int, int] = (18, 95)
    grows_with_age: bool = False
    asks_for: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    halo_mm: tuple[float, float] | None = None
    is_incidental: bool = False
    grades: tuple[str, ...] = ()


_SIMPLE = {(kind.term, kind.variant): kind for kind in SIMPLE_KINDS}
_FLUID = Tissue(4000.0, 1500.0, 1.00, 3000.0)
_FLUID_SIGNALS = (("T1w", "hypo"), ("T2w", "hyper"), ("FLAIR", "hypo"), ("DWI", "hypo"), ("ADC", "hyper"))
_GLIOSIS = Tissue(1700.0, 210.0, 0.86, 1500.0)

EDEMA = Kind(
    term="edema",
    core=Tissue(1500.0, 150.0, 0.82, 1350.0),
    signals=_SIMPLE["edema", ""].signals,
    sites=BRAIN_SITES,
    diameter_mm=(0.0, 0.0),
    shapes=("irregular",),
    morphology=("perilesional",),
    key=("FLAIR", "T2w"),
)
"""Oedema around another finding; never drawn by itself."""

# In the order of their frequency: the weight of the r-th is 1 / r (Zipf). The order is ours, by what adult head MRI
# shows most (incidental findings: Vernooij et al., N Engl J Med 2007;357:1821-1828; Morris et al., BMJ 2009:b3016).
KINDS: tuple[Kind, ...] = (
    Kind(  # STRIVE; nearly all over 60 have some (de Leeuw et al., J Neurol Neurosurg Psychiatry 2001;70:9-14)
        term="white matter lesion",
        variant="small vessel",
        core=Tissue(1400.0, 150.0, 0.84, 1050.0),
        signals=(("T2w", "hyper"), ("FLAIR", "hyper")),
        sites=("periventricular white matter",),
        diameter_mm=(4.0, 9.0),
        shapes=("patchy",),
        needs_white=True,
        bilateral_rate=1.0,
        place="scatter",
        ages=(50, 95),
        grows_with_age=True,
        key=("FLAIR", "T2w"),
        grades=("mild", "moderate", "severe"),
    ),
    Kind(
        term="atrophy",
        core=_FLUID,
        signals=(),
        sites=("brain",),
        diameter_mm=(0.0, 0.0),
        shapes=("diffuse",),
        place="sulci",
        ages=(60, 95),
        grows_with_age=True,
        grades=("mild", "moderate", "severe"),
    ),
    Kind(  # common on MRI made for another reason (Rak et al., AJR 1991;156:381-384)
        term="mucosal thickening",
        core=_FLUID,
        signals=(("T2w", "hyper"),),
        sites=("maxillary sinus",),
        diameter_mm=(3.0, 7.0),
        shapes=("smooth",),
        bilateral_rate=0.35,
        place="mucosa",
        key=("T2w",),
        is_incidental=True,
    ),
    Kind(
        term="lacune",
        core=_SIMPLE["lacune", ""].core,
        signals=_SIMPLE["lacune", ""].signals,
        sites=LACUNE_SITES,
        diameter_mm=(6.0, 13.0),
        shapes=("round", "oval"),
        edge_mm=1.0,
        morphology=("small", "well-defined"),
        acuity="chronic",
        ages=(50, 95),
        key=("FLAIR", "T1w"),
    ),
    Kind(
        term="acute infarct",
        core=_SIMPLE["acute infarct", ""].core,
        signals=_SIMPLE["acute infarct", ""].signals,
        sites=(*LOBES, *DEEP, "insula", "hippocampus", "cerebellar hemisphere", "pons", "internal capsule"),
        diameter_mm=(7.0, 36.0),
        shapes=("irregular", "oval", "patchy"),
        acuity="acute",
        ages=(45, 95),
        asks_for=("DWI", "ADC", "FLAIR"),
        key=("DWI",),
    ),
    Kind(
        term="ventricular dilation",
        core=_FLUID,
        signals=(),
        sites=("ventricles",),
        diameter_mm=(0.0, 0.0),
        shapes=("diffuse",),
        place="ventricles",
        ages=(40, 95),
        grades=("mild", "moderate", "severe"),
    ),
    Kind(
        term="encephalomalacia",
        core=_SIMPLE["chronic infarct", ""].core,
        signals=_SIMPLE["chronic infarct", ""].signals,
        sites=(*LOBES, "insula", "cerebellar hemisphere"),
        diameter_mm=(18.0, 42.0),
        shapes=("irregular", "round"),
        rim=_GLIOSIS,
        rim_mm=2.5,
        acuity="chronic",
        fills_sulci=True,
        ages=(40, 95),
        key=("T1w", "FLAIR"),
    ),
    Kind(  # Greenberg et al., Lancet Neurol 2009;8:165-174
        term="microbleed",
        core=Tissue(1100.0, 70.0, 0.70, 700.0, dephasing=400.0),
        signals=(("SWI", "hypo"),),
        sites=(*LOBES, *DEEP, "pons", "cerebellar hemisphere"),
        diameter_mm=(3.5, 5.5),
        shapes=("punctate",),
        edge_mm=1.0,
        acuity="chronic",
        place="dots",
        ages=(50, 95),
        asks_for=("SWI",),
        needs=("SWI",),
        key=("SWI",),
    ),
    Kind(
        term="perivascular space",
        core=_FLUID,
        signals=(("T1w", "hypo"), ("T2w", "hyper"), ("FLAIR", "hypo"), ("ADC", "hyper")),
        sites=("basal ganglia",),
        diameter_mm=(6.0, 9.0),
        shapes=("oval",),
        edge_mm=1.0,
        morphology=("well-defined",),
        bilateral_rate=0.3,
        key=("T2w",),
        is_incidental=True,
    ),
    Kind(
        term="hemorrhage",
        variant="acute",
        core=Tissue(900.0, 32.0, 0.80, 480.0, dephasing=120.0),
        signals=(*_SIMPLE["hemorrhage", "acute"].signals, ("SWI", "hypo")),
        sites=(*DEEP_HAEMORRHAGE_SITES, *LOBES),
        diameter_mm=(12.0, 40.0),
        shapes=("oval", "irregular", "round"),
        acuity="acute",
        fills_sulci=True,
        ages=(45, 95),
        asks_for=("SWI",),
        key=("SWI", "T2w"),
        halo_mm=(3.0, 8.0),
    ),
    Kind(  # Watts et al., Insights Imaging 2014;5:113-122
        term="meningioma",
        core=Tissue(1300.0, 105.0, 0.82, 850.0, uptake=1.3),
        signals=(("T1c", "enhancing"), ("T2w", "iso")),
        sites=("frontal lobe", "parietal lobe", "temporal lobe", "occipital lobe"),
        diameter_mm=(14.0, 40.0),
        shapes=("round",),
        edge_mm=1.0,
        morphology=("well-defined", "homogeneous"),
        fills_sulci=True,
        place="dura",
        ages=(40, 95),
        asks_for=("T1c",),
        key=("T1c",),
    ),
    Kind(
        term="glioma",
        variant="high grade",
        core=Tissue(1900.0, 350.0, 0.92, 2000.0),
        signals=(("T1w", "hypo"), ("T1c", "enhancing"), ("T2w", "hyper"), ("FLAIR", "hyper"), ("ADC", "hyper")),
        sites=(*LOBES, "thalamus", "insula"),
        diameter_mm=(22.0, 48.0),
        shapes=("irregular",),
        rim=Tissue(1500.0, 140.0, 0.82, 1050.0, uptake=1.2),
        rim_mm=5.0,
        morphology=("ring", "necrotic"),
        fills_sulci=True,
        ages=(40, 85),
        asks_for=("T1c",),
        key=("T1c",),
        halo_mm=(6.0, 16.0),
    ),
    Kind(
        term="arachnoid cyst",
        core=_FLUID,
        signals=_FLUID_SIGNALS,
        sites=("middle cranial fossa",),
        diameter_mm=(16.0, 38.0),
        shapes=("oval",),
        edge_mm=1.0,
        morphology=("well-defined",),
        fills_sulci=True,
        place="dura",
        key=("T2w", "T1w"),
        is_incidental=True,
    ),
    Kind(
        term="metastasis",
        core=Tissue(1500.0, 150.0, 0.84, 1050.0, uptake=1.3),
        signals=(("T1c", "enhancing"), ("T2w", "hyper"), ("FLAIR", "hyper")),
        sites=(*LOBES, "cerebellar hemisphere"),
        diameter_mm=(8.0, 22.0),
        shapes=("round",),
        edge_mm=1.0,
        morphology=("nodular",),
        fills_sulci=True,
        ages=(45, 90),
        asks_for=("T1c",),
        key=("T1c",),
        halo_mm=(4.0, 12.0),
    ),
    Kind(
        term="retention cyst",
        core=Tissue(2600.0, 500.0, 0.95, 2300.0),
        signals=(("T2w", "hyper"),),
        sites=("maxillary sinus",),
        diameter_mm=(10.0, 18.0),
        shapes=("round",),
        edge_mm=1.0,
        morphology=("well-defined",),
        place="sinus",
        key=("T2w",),
        is_incidental=True,
    ),
    Kind(  # T2 shine-through: ADC is normal again, T2 still long (Burdette et al., Radiology 1999;212:333-339)
        term="subacute infarct",
        core=Tissue(1600.0, 260.0, 0.82, 800.0),
        signals=(("T1w", "hypo"), ("T2w", "hyper"), ("FLAIR", "hyper"), ("DWI", "hyper"), ("ADC", "iso")),
        sites=(*LOBES, *DEEP, "insula", "cerebellar hemisphere", "corona radiata"),
        diameter_mm=(10.0, 34.0),
        shapes=("irregular", "patchy"),
        acuity="subacute",
        ages=(45, 95),
        asks_for=("DWI", "ADC"),
        key=("DWI",),
    ),
    Kind(  # MAGNIMS: Filippi et al., Lancet Neurol 2016;15:292-303
        term="demyelinating plaque",
        core=Tissue(1500.0, 170.0, 0.84, 1150.0),
        signals=(("T1w", "hypo"), ("T2w", "hyper"), ("FLAIR", "hyper"), ("ADC", "hyper")),
        sites=(*WHITE, "frontal lobe", "parietal lobe", "temporal lobe"),
        diameter_mm=(8.0, 16.0),
        shapes=("oval",),
        morphology=("well-defined",),
        needs_white=True,
        bilateral_rate=0.4,
        ages=(20, 50),
        asks_for=("FLAIR", "T1c"),
        key=("FLAIR",),
    ),
    Kind(
        term="hemorrhage",
        variant="subacute",
        core=Tissue(320.0, 190.0, 0.90, 520.0, dephasing=60.0),
        signals=(*_SIMPLE["hemorrhage", "subacute"].signals, ("SWI", "hypo")),
        sites=(*DEEP_HAEMORRHAGE_SITES, *LOBES),
        diameter_mm=(12.0, 36.0),
        shapes=("oval", "irregular", "round"),
        rim=Tissue(900.0, 60.0, 0.80, 700.0, dephasing=180.0),
        rim_mm=1.5,
        acuity="subacute",
        fills_sulci=True,
        ages=(45, 95),
        asks_for=("SWI",),
        key=("SWI", "T1w"),
    ),
    Kind(  # late subacute to chronic blood: Fobben et al., AJR 1989;153:589-595
        term="subdural hematoma",
        core=Tissue(650.0, 240.0, 0.95, 1300.0),
        signals=(("T1w", "hyper"), ("T2w", "hyper"), ("FLAIR", "hyper")),
        sites=("subdural space",),
        diameter_mm=(7.0, 14.0),
        shapes=("crescentic",),
        acuity="subacute",
        fills_sulci=True,
        place="subdural",
        ages=(55, 95),
        key=("FLAIR", "T1w"),
    ),
    Kind(  # Zabramski et al., J Neurosurg 1994;80:422-432, type II
        term="cavernous malformation",
        core=Tissue(450.0, 150.0, 0.88, 800.0, dephasing=60.0),
        signals=(("T1w", "hyper"), ("T2w", "hyper"), ("T2w", "hypo"), ("SWI", "hypo")),
        sites=(*LOBES, "pons", "cerebellar hemisphere", "thalamus"),
        diameter_mm=(10.0, 20.0),
        shapes=("round",),
        rim=Tissue(1000.0, 22.0, 0.70, 700.0, dephasing=300.0),
        rim_mm=2.5,
        edge_mm=1.0,
        morphology=("lobulated",),
        fills_sulci=True,
        asks_for=("SWI",),
        key=("SWI", "T2w"),
    ),
    Kind(
        term="abscess",
        core=_SIMPLE["abscess", ""].core,
        signals=(*_SIMPLE["abscess", ""].signals, ("T1c", "enhancing")),
        sites=(*LOBES, "basal ganglia", "cerebellar hemisphere"),
        diameter_mm=(14.0, 28.0),
        shapes=("round",),
        rim=Tissue(900.0, 50.0, 0.75, 800.0, uptake=1.5),
        rim_mm=2.5,
        edge_mm=1.0,
        morphology=("ring",),
        fills_sulci=True,
        asks_for=("T1c", "DWI", "ADC"),
        key=("DWI",),
        halo_mm=(5.0, 14.0),
    ),
    Kind(  # diffuse glioma without enhancement: Kono et al., AJNR 2001;22:1081-1088
        term="glioma",
        variant="low grade",
        core=_SIMPLE["mass", ""].core,
        signals=_SIMPLE["mass", ""].signals,
        sites=("frontal lobe", "temporal lobe", "insula", "parietal lobe"),
        diameter_mm=(22.0, 44.0),
        shapes=("irregular", "round"),
        edge_mm=3.0,
        morphology=("infiltrating",),
        fills_sulci=True,
        ages=(20, 55),
        asks_for=("T1c",),
        key=("FLAIR",),
    ),
)
