"""`snakemake --cores 1 download`: what may be fetched, into `downloads/`. Nothing asks for it by itself."""

from selfsv.prepare.downloads import SOURCES


rule download:
    input:
        expand("downloads/{source}.json", source=[name for name in SOURCES if not name.endswith("_original")]),


use rule stage as fetch with:
    output:
        "downloads/{source}.json",
    pathvars:
        job="download-{source}",
    wildcard_constraints:
        source="|".join(SOURCES),
    localrule: True
    conda:
        None if IMAGE else "../envs/selfsv.yaml"
    params:
        **script("fetch", source="{source}"),
