"""Instance maps and the class maps a network learns: targets one way, segmentation the other.

`targets` turns an instance map into classes; `segment` turns predicted class
probabilities back into instances. NumPy, OpenCV and numba only.
"""
