//! What is announced is understood, and what is heard is told once.

use super::*;

fn announcement(listen: &str) -> Announcement {
    Announcement {
        protocol_version: 1,
        id: NodeId::from_public_key(&[1; 32]),
        name: "NodeA".to_owned(),
        incarnation: 7,
        interfaces: InterfaceRules::default(),
        listen: vec![listen.parse().unwrap()],
    }
}

#[test]
fn what_is_announced_is_understood() {
    let announcement = announcement("192.0.2.7:8080");
    let service = service_info(&announcement).unwrap().as_resolved_service();
    assert_eq!(who(&service, 1), Ok((announcement.id, "NodeA".to_owned())));
    assert_eq!(
        addresses_of(&service.addresses, service.port),
        announcement.listen
    );
    assert_eq!(who(&service, 2), Err(Stranger::OtherVersion(1)));
}

#[test]
fn a_node_on_all_interfaces_leaves_the_addresses_to_mdns() {
    for listen in ["0.0.0.0:8080", "[::]:8080"] {
        assert!(
            service_info(&announcement(listen)).unwrap().is_addr_auto(),
            "{listen}"
        );
    }
    assert!(
        !service_info(&announcement("127.0.0.1:8080"))
            .unwrap()
            .is_addr_auto()
    );
}

#[test]
fn instance_names_fit_a_dns_label() {
    let id = NodeId::from_public_key(&[1; 32]);
    for name in ["a".to_owned(), "x".repeat(63), "ü".repeat(31), "€".repeat(21)] {
        let label = instance_name(&name, id);
        assert!(label.len() <= 63, "{label}");
        assert!(label.ends_with(&format!(" [{}]", id.short())));
    }
}

#[test]
fn addresses_that_reach_farthest_come_first() {
    let ips: Vec<ScopedIp> = ["127.0.0.1", "fe80::1", "2001:db8::1", "192.0.2.1", "169.254.0.1"]
        .map(|ip| ScopedIp::from(ip.parse::<IpAddr>().unwrap()))
        .to_vec();
    let sorted: Vec<String> = addresses_of(&ips, 1).iter().map(|a| a.ip().to_string()).collect();
    assert_eq!(
        sorted,
        ["192.0.2.1", "2001:db8::1", "169.254.0.1", "fe80::1", "127.0.0.1"]
    );
}

/// A listener that hears nothing but what it is told, and what it says of that.
fn listener(
    own: &Announcement,
) -> (
    Listener<impl FnMut(DiscoveryEvent) + use<>>,
    std::sync::mpsc::Receiver<DiscoveryEvent>,
) {
    let (events, heard) = std::sync::mpsc::channel();
    let listener = Listener {
        daemon: ServiceDaemon::new().unwrap(),
        stopping: Arc::default(),
        own_id: own.id,
        incarnation: own.incarnation,
        protocol_version: 1,
        announced: HashMap::new(),
        twin: None,
        heard: Arc::default(),
        on_event: move |event| events.send(event).unwrap(),
    };
    (listener, heard)
}

fn hear<F: FnMut(DiscoveryEvent)>(listener: &mut Listener<F>, of: &Announcement) -> String {
    let service = service_info(of).unwrap().as_resolved_service();
    let fullname = service.fullname.clone();
    listener.handle(ServiceEvent::ServiceResolved(Box::new(service)));
    fullname
}

fn forget<F: FnMut(DiscoveryEvent)>(listener: &mut Listener<F>, fullname: String) {
    listener.handle(ServiceEvent::ServiceRemoved(SERVICE_TYPE.to_owned(), fullname));
}

#[test]
fn a_listener_passes_over_itself_and_ends_goodbyes_once() {
    let own = announcement("192.0.2.7:8080");
    let other = Announcement {
        id: NodeId::from_public_key(&[2; 32]),
        ..own.clone()
    };
    let renamed = Announcement {
        name: "NodeB".to_owned(),
        ..other.clone()
    };
    let (mut listener, heard) = listener(&own);
    hear(&mut listener, &own);
    let old = hear(&mut listener, &other);
    let new = hear(&mut listener, &renamed);
    assert_eq!(lock(&listener.heard).others, 2);
    for fullname in [old, new.clone(), new] {
        forget(&mut listener, fullname);
    }
    listener.daemon.shutdown().unwrap();
    drop(listener);
    let found = |name: &str| DiscoveryEvent::Found {
        id: other.id,
        name: name.to_owned(),
        addresses: other.listen.clone(),
    };
    assert_eq!(
        heard.iter().collect::<Vec<_>>(),
        [
            found("NodeA"),
            found("NodeB"),
            DiscoveryEvent::Gone { id: other.id }
        ]
    );
}

#[test]
fn another_process_with_the_same_id_is_told_from_this_one() {
    let own = announcement("192.0.2.7:8080");
    let twin = Announcement {
        incarnation: own.incarnation + 1,
        name: "Copy".to_owned(),
        listen: vec!["192.0.2.8:8080".parse().unwrap()],
        ..own.clone()
    };
    let (mut listener, heard) = listener(&own);
    hear(&mut listener, &own);
    let fullname = hear(&mut listener, &twin);
    forget(&mut listener, fullname);
    listener.daemon.shutdown().unwrap();
    drop(listener);
    let told = DiscoveryEvent::Twin {
        name: twin.name,
        addresses: twin.listen,
    };
    assert_eq!(heard.iter().collect::<Vec<_>>(), [told, DiscoveryEvent::TwinGone]);
}
