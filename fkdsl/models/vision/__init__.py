"""Models with eyes: the image-text-to-text families of transformers behind LanguageModel.

images.py     reads a stranger's image, within bounds
processing.py   a prompt of texts and images -> what the model's own processor makes of it
unit.py         the unit: a prompt up to its last image, which the model reads in one forward
tower.py        runs the image encoder once an image
model.py        the LanguageModel
crossed.py      families that look at images by cross-attention (Idefics, Mllama)
loading.py      loads one, and checks its rows against the library's
"""
