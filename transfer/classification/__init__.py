"""Labels on frozen or fine-tuned features: labelled images, crops, classifiers, nearest neighbours."""
