process NUCLEIPEL_SEGMENT {
    tag "$meta.id"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    container "nucleipel:0.1.0" // scripts/containers/Dockerfile; no registry has it yet

    input:
    tuple val(meta), path(image)
    path checkpoint // [] for the packaged weights

    output:
    tuple val(meta), path("${prefix}")                                 , emit: results
    tuple val(meta), path("${prefix}/*/instances.zarr")                , emit: labels
    tuple val(meta), path("${prefix}/*/nuclei.parquet")                , emit: nuclei
    tuple val(meta), path("${prefix}/*/nuclei.geojson*"), optional: true, emit: geojson
    path "versions.yml"                                                , emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args    = task.ext.args ?: ''
    def weights = checkpoint ? "--checkpoint ${checkpoint}" : ''
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    nucleipel segment \\
        ${image} \\
        --out ${prefix} \\
        --threads ${task.cpus} \\
        --max-ram ${(task.memory?.toGiga() ?: 8) * 0.8} \\
        ${weights} \\
        ${args}

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        nucleipel: \$(nucleipel --version | sed 's/.*version //')
    END_VERSIONS
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    mkdir -p ${prefix}/image/instances.zarr
    touch ${prefix}/image/nuclei.parquet ${prefix}/image/nuclei.geojson

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        nucleipel: \$(nucleipel --version | sed 's/.*version //')
    END_VERSIONS
    """
}
