"""What embeddings are worth on somebody's images: a dataset, a protocol, one runner, a result.

    run(dataset, embedder, protocol, progress) -> Result

The command, the routes and the page call the one runner; whoever calls it brings the embedder. Training measures its
networks by itself, with parts of the protocols, and gives a Result too; export takes the metrics alone.
"""
