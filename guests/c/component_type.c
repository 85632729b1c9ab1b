// The bindings call this function to pull in an object file that describes the component. The build
// script puts the description into the finished module instead, so an empty function will do.

void __component_type_object_force_link_messaging(void);

void __component_type_object_force_link_messaging(void) {}
