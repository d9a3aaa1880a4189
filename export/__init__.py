"""From a training run to a bundle: ONNX graphs checked against PyTorch, and a card of what was measured.

python -m export --checkpoint RUN_OR_FILE --out DIR [--images FOLDER]
"""
