"""A plugin of napari: opens outputs and slides, segments a layer, saves corrected labels.

`napari.yaml` names what the plugin offers.
"""
