// Write all objects of the image that is open in QuPath as GeoJSON for `nucleipel import qupath`.
// QuPath 0.5 or newer: Automate > Script editor, choose a folder below, Run (or Run for project).

def out = "/path/to/CORRECTED"  // the images lie there, too, or are named by --set images=FOLDER

mkdirs(out)
def image = getCurrentImageNameWithoutExtension()
exportAllObjectsToGeoJson(buildFilePath(out, image + ".geojson"), "FEATURE_COLLECTION")
println "Wrote $image.geojson"
