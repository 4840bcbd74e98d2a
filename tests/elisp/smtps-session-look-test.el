;;; smtps-session-look-test.el --- Tests of what a session looks like  -*- lexical-binding: t; -*-

;;; Commentary:

;; By keys, in a session whose helper only listens.

;;; Code:

(require 'outline)
(require 'smtps-session-fake)

(defmacro smtps-session-look-test-with (&rest body)
  "Run BODY in a session in which a login and a message were refused."
  (declare (indent 0) (debug t))
  `(smtps-session-test-with
     (smtps-session-look-test-play)
     ,@body))

(defun smtps-session-look-test-said (verb text at &rest more)
  "Let TEXT leave, a command of VERB, AT milliseconds; MORE are its properties."
  (apply #'smtps-session-test-event 'send :text text :verb verb :at at more))

(defun smtps-session-look-test-heard (verb text at &rest more)
  "Let the server say TEXT in answer to VERB, AT milliseconds."
  (apply #'smtps-session-test-event 'recv :text text :verb verb :at at
         :code (string-to-number (substring text 0 3)) more))

(defun smtps-session-look-test-play ()
  "Let a dialogue happen."
  (smtps-session-test-event 'info :text "Resolving 'mx.test:465'...")
  (smtps-session-test-event 'info :text "- Handshake was completed")
  (smtps-session-look-test-heard 'greeting "220-mx.test" 30)
  (smtps-session-look-test-heard 'greeting "220 hi" 31)
  (smtps-session-look-test-said 'ehlo "ehlo x" 1000)
  (smtps-session-look-test-heard 'ehlo "250-mx.test grüßt" 1005)
  (smtps-session-look-test-heard 'ehlo "250 SIZE" 1006 :bare t)
  (smtps-session-look-test-said 'mail "MAIL FROM:<a@b.c>" 2000 :led t)
  (smtps-session-look-test-said 'rcpt "RCPT TO:<d@e.f>" 2000 :led t)
  (smtps-session-look-test-heard 'mail "250 ok" 2100)
  (smtps-session-look-test-heard 'rcpt "250 ok" 2150)
  (smtps-session-look-test-said 'data "DATA" 2200)
  (smtps-session-look-test-heard 'data "354 go" 2210)
  (smtps-session-test-state 'data nil 0 t)
  (smtps-session-look-test-said 'other "quit" 2300)
  (smtps-session-look-test-said 'body "." 2400)
  (smtps-session-look-test-heard 'body "250 taken" 3900)
  (smtps-session-test-state 'ready nil))

(defun smtps-session-look-test-shown ()
  "Return what is seen of this buffer: the text, and what is displayed for it."
  (let ((position (point-min)) (shown ""))
    (while (< position (point-max))
      (let* ((next (next-single-property-change position 'display nil (point-max)))
             (display (get-text-property position 'display))
             (text (buffer-substring-no-properties position next)))
        (setq shown (concat shown (smtps-session-look-test-displayed display text))
              position next)))
    (substring-no-properties shown)))

(defun smtps-session-look-test-displayed (display text)
  "Return what is displayed by DISPLAY, a property, for TEXT."
  (or (cl-loop for spec in (if (eq (car-safe display) 'when) (list display) display)
               when (and (eq (car-safe spec) 'when) (eval (cadr spec) t))
               return (cddr spec))
      text))

(ert-deftest smtps-session-look-test-times ()
  (smtps-session-look-test-with
    (should (equal (smtps-session-look-test-shown) (smtps-session-test-text)))
    (smtps-session-test-press "C-c :")
    (should (equal (smtps-session-look-test-shown)
                   "Resolving 'mx.test:465'...
- Handshake was completed
recv> 220-mx.test
recv> 220 hi  [31 ms]
send> ehlo x  [at 1.00 s]
recv> 250-mx.test grüßt
recv> 250 SIZE  [6 ms]
send> MAIL FROM:<a@b.c>  [at 2.00 s]
send> RCPT TO:<d@e.f>  [at 2.00 s]
recv> 250 ok  [100 ms]
recv> 250 ok  [150 ms]
send> DATA  [at 2.20 s]
recv> 354 go  [10 ms]
send> quit
send> .  [at 2.40 s]
recv> 250 taken  [1.50 s]
send> "))
    ;; New lines, too.
    (smtps-session-look-test-said 'noop "noop" 4000)
    (should (string-search "send> noop  [at 4.00 s]\n" (smtps-session-look-test-shown)))
    (smtps-session-test-press "C-c :")
    (should (equal (smtps-session-look-test-shown) (smtps-session-test-text)))))

(ert-deftest smtps-session-look-test-octets ()
  (smtps-session-look-test-with
    (smtps-session-test-press "C-c ;")
    (let ((shown (smtps-session-look-test-shown)))
      (should (string-search "recv> 250-mx.test gr\\xc3\\xbc\\xc3\\x9ft\\r\\n\n" shown))
      (should (string-search "recv> 250 SIZE\\n\n" shown))
      (should (string-search "- Handshake was completed\n" shown)))
    (smtps-session-test-press "C-c :")
    (should (string-search "recv> 250 SIZE\\n  [6 ms]\n" (smtps-session-look-test-shown)))))

(ert-deftest smtps-session-look-test-what-is-copied-is-the-text ()
  (smtps-session-look-test-with
    (smtps-session-test-press "C-c : C-c ;")
    (let ((text (buffer-substring (point-min) smtps-session--prompt-start)))
      (with-temp-buffer
        (insert text)
        (should (equal (smtps-session-look-test-shown)
                       (substring-no-properties text)))))))

;; A server may send very many lines, and garbage collection looks at each
;; property of each while no key is obeyed; so does redisplay.
(ert-deftest smtps-session-look-test-a-line-has-few-properties ()
  (smtps-session-look-test-with
    (let* ((letters (concat "250-" (string-join (make-list 500 "é") " ") "…"))
           (intervals
            (lambda (text)
              (let ((beg (marker-position smtps-session--prompt-start)))
                (smtps-session-test-event 'recv :text text :code 250 :at 5)
                (object-intervals (buffer-substring beg smtps-session--prompt-start))))))
      (dolist (text (list "250-One of many." letters))
        (pcase (funcall intervals text)
          (`((0 ,_ ,properties)) (should (<= (length properties) 6)))
          (several (ert-fail (list (length several) text)))))
      (smtps-session-test-press "C-c ;")
      (should (string-search (concat "recv> 250-" (string-join (make-list 500 "\\xc3\\xa9") " ")
                                     "\\xe2\\x80\\xa6\\r\\n\n")
                             (smtps-session-look-test-shown)))
      (should (= (length (funcall intervals letters)) 3))
      (smtps-session-test-press "C-c ;")
      (should (equal (smtps-session-look-test-shown) (smtps-session-test-text))))))

(ert-deftest smtps-session-look-test-very-many-letters-from-right-to-left ()
  (smtps-session-look-test-with
    (smtps-session-look-test-heard nil (concat "250-" (make-string 64 ?א)) 1)
    (smtps-session-look-test-heard nil (concat "250-é" (make-string 65 ?א)) 1)
    (should (string-suffix-p (concat "recv> 250-" (make-string 64 ?א) "\n"
                                     "recv> 250-é" (string-join (make-list 65 "\\u05d0")) "\n"
                                     "send> ")
                             (smtps-session-test-text)))))

(ert-deftest smtps-session-look-test-what-is-yanked-keeps-its-face ()
  (smtps-session-look-test-with
    (copy-region-as-kill (point-min) smtps-session--prompt-start)
    (with-temp-buffer
      (yank)
      (goto-char (point-min))
      (search-forward "250 taken")
      (should (eq (get-text-property (1- (point)) 'face) 'smtps-session-success))
      (insert "and may be changed"))))

(ert-deftest smtps-session-look-test-the-user-s-defaults ()
  (let ((smtps-session-show-times t)
        (smtps-session-show-octets t))
    (smtps-session-look-test-with
      (should (string-search "recv> 250 SIZE\\n  [6 ms]\n"
                             (smtps-session-look-test-shown))))))

(ert-deftest smtps-session-look-test-faces ()
  (pcase-dolist (`(,text . ,face)
                 '(("Resolving 'x'..." . smtps-session-info)
                   ("- Got a certificate list of 1 certificate." . smtps-session-tls)
                   (" - subject 'CN=x'" . smtps-session-tls)
                   ("- TLS: TLSv1.3, x" . smtps-session-tls)
                   ("- Status: The certificate is trusted." . smtps-session-tls)
                   ("- Status: The certificate is NOT trusted: x." . smtps-session-refusal)
                   ("- Logged in by PLAIN." . smtps-session-info)
                   ("- localhost offers SIZE." . smtps-session-info)
                   ("! No" . smtps-session-refusal)))
    (should (equal (cons text (smtps-session-look--info-face text))
                   (cons text face)))))

(ert-deftest smtps-session-look-test-the-line-above ()
  (smtps-session-test-with
    (should (equal (smtps-session-look--header) " mx.test:465  opening"))
    (smtps-session-look-test-heard 'greeting "220 hi" 31)
    (smtps-session-test-event 'state :state 'ready :owed 0)
    (should (equal (smtps-session-look--header) " mx.test:465  in clear  ready  31 ms"))
    (smtps-session-test-event 'state :state 'mail :owed 0 :tls "TLSv1.3"
                              :mechanism "PLAIN")
    (should (equal (substring-no-properties (smtps-session-look--header))
                   " mx.test:465  TLSv1.3  logged in (PLAIN)  mail  31 ms"))
    (setq smtps-session-user "100%")
    (should (string-search "100%% (PLAIN)" (smtps-session-look--header)))
    (smtps-session-test-event 'closed :text "- bye")
    (should (equal (smtps-session-look--header) " mx.test:465  closed  31 ms"))))

(ert-deftest smtps-session-look-test-a-step-again ()
  (smtps-session-look-test-with
    (smtps-session-test-event 'send :verb 'mail :text "MAIL FROM:<a@b.c>" :led t)
    (execute-kbd-macro (vconcat (kbd "C-c C-j") "Transaction of <a@b.c> (2)" (kbd "RET")))
    (should (looking-at "send> MAIL FROM:<a@b.c>$"))
    (should (> (point) (cdr (assoc "Transaction of <a@b.c>"
                                   (smtps-session-steps--index)))))))

(ert-deftest smtps-session-look-test-steps ()
  (smtps-session-look-test-with
    (should (equal (mapcar #'car (smtps-session-steps--index))
                   '("Connection" "Greeting" "EHLO" "Transaction of <a@b.c>")))
    (execute-kbd-macro (vconcat (kbd "C-c C-j") "Trans" (kbd "TAB RET")))
    (should (looking-at "send> MAIL"))
    (outline-minor-mode 1)
    (outline-hide-body)
    (should (invisible-p (save-excursion (search-forward "RCPT") (point))))
    ;; The prompt is never folded.
    (goto-char (point-max))
    (smtps-session-test-type "noop")
    (should-not (invisible-p (1- (point))))
    (should-not (invisible-p smtps-session--prompt-start))))

;;; smtps-session-look-test.el ends here
