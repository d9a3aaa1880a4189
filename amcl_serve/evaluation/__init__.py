"""What embeddings are worth on somebody's images: a dataset, a protocol, one runner, a result.

    run(dataset, embedder, protocol, progress) -> Result

The command, the routes, the page, training and export call the one runner; whoever calls it brings the embedder.
"""
